"""Violated topic structure, still exactly scored."""
