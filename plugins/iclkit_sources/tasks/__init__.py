"""Tasks of text: an input, its label and the options among which to choose."""
