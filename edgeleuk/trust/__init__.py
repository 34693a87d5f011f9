"""Who is believed: signatures as minisign makes them, and the keys that a person has pinned."""
