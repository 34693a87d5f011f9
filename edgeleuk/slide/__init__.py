"""A whole slide as one picture: the fields of a scan, placed, blended and written as a pyramid."""
