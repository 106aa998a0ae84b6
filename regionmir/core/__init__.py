"""Values and rules without I/O: what every other package may use, and what uses none of them."""
