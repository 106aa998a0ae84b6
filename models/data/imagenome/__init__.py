"""Chest ImaGenome, silver and gold, with the films of MIMIC-CXR-JPG or MIMIC-CXR: users bring their own copies."""
