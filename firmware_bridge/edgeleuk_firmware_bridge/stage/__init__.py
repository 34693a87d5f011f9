"""Stage, focus and lamp: protocols, boards and the driver above them."""
