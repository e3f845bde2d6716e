"""Hidden Markov models: stacks of them, their exact filters, floors and entropy rates, and the named processes."""
