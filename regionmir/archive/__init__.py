"""What node and web do alike for those outside: file what arrives, give what is asked for, search by regions."""
