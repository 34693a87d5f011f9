"""The door for Python: thin adapters over the same modules that the command line uses."""
