"""What each command of the workstation does, from its options to its exit code."""
