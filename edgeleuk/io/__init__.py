"""What the machine gives: settings, console, files, pictures, clock, signals."""
