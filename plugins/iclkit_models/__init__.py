"""Built-in models: a transformer and an LSTM."""
