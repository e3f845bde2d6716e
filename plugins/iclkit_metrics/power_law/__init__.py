"""The power law by which the in-context loss falls, or does not."""
