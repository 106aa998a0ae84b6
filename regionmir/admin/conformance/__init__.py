"""The conformance statement (PS3.2), made from the tables that the code runs by."""
