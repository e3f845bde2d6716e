"""The squared error of the predicted mean of real tokens."""
