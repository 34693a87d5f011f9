"""From frames to counted cells: read ahead, segment, track, classify, record."""
