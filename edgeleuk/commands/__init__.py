"""What each command of the device does, from its options to its exit code."""
