"""Causal language models of the transformers library, trained from their configs or from downloaded weights."""
