"""Whether the model is as sure as it should be."""
