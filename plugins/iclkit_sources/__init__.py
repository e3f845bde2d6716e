"""The built-in sources: coins, hidden Markov models, mixtures of sources."""
