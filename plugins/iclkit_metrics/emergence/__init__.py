"""When in training a loss falls, and what the model is like before and after."""
