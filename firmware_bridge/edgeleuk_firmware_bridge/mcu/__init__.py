"""A network for a microcontroller: memory, operators, sources."""
