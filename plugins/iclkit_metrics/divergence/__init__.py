"""How far the model is from the exact references and from naive predictors."""
