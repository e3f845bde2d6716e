"""How a model reads tokens in and what it says about the next one.

Categorical(V): indices 0 .. V, V being the begin token, to logits of 0 .. V-1. Real(D): D channels and the begin
flag, to the mean of the channels of the next that are predicted (all D, unless the space says otherwise).
"""

from torch import nn

from iclkit.api import Categorical, Space


def read_in(space: Space, width: int) -> nn.Embedding | nn.Linear:
    """Return the layer from inputs to a vector each: (B, T) int64 or (B, T, D + 1) float32 -> (B, T, width)."""
    if isinstance(space, Categorical):
        return nn.Embedding(space.size + 1, width)
    return nn.Linear(space.dim + 1, width)


def read_out(space: Space, width: int) -> nn.Linear:
    """Return the layer to what is predicted: (B, T, width) -> logits (B, T, V) or mean (B, T, scored)."""
    return nn.Linear(width, output_size(space), bias=False)


def output_size(space: Space) -> int:
    """Return the number of output channels: V, or how many channels of a real token are predicted."""
    return space.size if isinstance(space, Categorical) else space.scored
