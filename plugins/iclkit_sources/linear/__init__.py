"""Real vectors: linear dynamical systems and prompts of linear regression."""
