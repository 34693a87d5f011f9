"""edgeleuk as a service of systemd: its unit, its installation, and what it tells the manager."""
