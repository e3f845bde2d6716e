"""Sources that change topic inside a sequence."""
