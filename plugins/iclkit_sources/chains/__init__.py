"""Markov chains and dice with Dirichlet rows."""
