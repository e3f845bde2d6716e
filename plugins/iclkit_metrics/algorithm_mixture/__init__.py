"""Which mixture of named predictors a model is like."""
