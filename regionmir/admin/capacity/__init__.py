"""How many machines and how much disk a hospital needs, from what was measured and what it says of itself."""
