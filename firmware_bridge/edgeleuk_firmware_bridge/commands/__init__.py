"""What the commands for stages and microcontrollers do."""
