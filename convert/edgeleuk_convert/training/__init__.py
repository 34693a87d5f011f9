"""Training, its settings, its checkpoints and its record."""
