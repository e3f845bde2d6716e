"""Repeated random blocks."""
