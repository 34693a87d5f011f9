"""How many cells, and how sure that is."""
