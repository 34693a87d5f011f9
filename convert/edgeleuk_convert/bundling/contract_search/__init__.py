"""Find out what a network wants that nobody wrote a contract for: its input, and which class is which."""
