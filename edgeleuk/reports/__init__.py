"""Pages of a session and of two sessions side by side: one file each, that a laboratory can file."""
