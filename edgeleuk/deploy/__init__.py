"""What of a bundle goes to a microcontroller."""
