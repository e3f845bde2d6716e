"""The in-context loss, and how far it is from what is possible."""
