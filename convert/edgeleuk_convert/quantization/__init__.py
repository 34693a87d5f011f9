"""From float to int8, and what it costs."""
