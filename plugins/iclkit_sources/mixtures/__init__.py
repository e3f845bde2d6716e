"""Mixtures of sources, compiled into machines or merged component by component."""
