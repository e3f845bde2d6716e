"""Failures that the numbers show, told in words with the evidence."""
