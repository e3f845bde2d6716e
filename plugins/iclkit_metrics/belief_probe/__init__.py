"""How much of the exact belief state can be read, linearly, inside a model."""
