"""``edgeleuk bench``: what this device really does, and whether the figures may be believed."""
