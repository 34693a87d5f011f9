"""How good a network is, and whether its int8 form is as good."""
