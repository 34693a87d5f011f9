"""The page in a browser: a run as it goes on, with who may see it and what may be asked of it."""
