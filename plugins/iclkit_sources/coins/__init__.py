"""Biased coins, given or drawn from a Beta prior."""
