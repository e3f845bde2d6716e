"""Loss on a token by how often it came before."""
