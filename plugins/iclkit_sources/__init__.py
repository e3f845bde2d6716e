"""The built-in sources, a folder for each family, each with its exact theory."""
