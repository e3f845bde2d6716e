"""Built-in models: transformers, recurrent networks, a state-space model and an MLP over a window."""
