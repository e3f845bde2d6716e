"""How a model reads tokens in and what it says about the next one.

Categorical(V): indices 0 .. V, V being the begin token, to logits of 0 .. V-1. Real(D): D channels and the begin
flag, to the mean of the channels of the next that are predicted (all D, unless the space says otherwise), and the
logarithm of their deviations where the model learns them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from iclkit.api import Categorical, Space
from iclkit_models.configs import Scale


def read_in(space: Space, width: int) -> nn.Embedding | nn.Linear:
    """Return the layer from inputs to a vector each: (B, T) int64 or (B, T, D + 1) float32 -> (B, T, width)."""
    if isinstance(space, Categorical):
        return nn.Embedding(space.size + 1, width)
    return nn.Linear(space.dim + 1, width)


class OneHot(nn.Module):
    """One channel per index: (B, T) int64 -> (B, T, V + 1) float32. Real inputs, (B, T, D + 1), pass as they are."""

    rows: Tensor | None

    def __init__(self, space: Space):
        super().__init__()
        self.width = (space.size if isinstance(space, Categorical) else space.dim) + 1
        rows = torch.eye(self.width) if isinstance(space, Categorical) else None
        self.register_buffer("rows", rows, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Look the rows of the unit matrix up."""
        return inputs if self.rows is None else functional.embedding(inputs, self.rows)


def read_out(space: Space, width: int) -> nn.Linear:
    """Return the layer to what is predicted: (B, T, width) -> logits (B, T, V) or mean (B, T, scored)."""
    return nn.Linear(width, output_size(space), bias=False)


def output_size(space: Space) -> int:
    """Return the number of output channels: V, or how many channels of a real token are predicted."""
    return space.size if isinstance(space, Categorical) else space.scored


def log_scale(space: Space, scale: Scale) -> nn.Parameter | None:
    """Return the logarithm of the deviations to learn, (scored,), from 0; None if fixed or tokens are categorical."""
    if scale == "fixed" or isinstance(space, Categorical):
        return None
    return nn.Parameter(torch.zeros(space.scored))


Prediction = Tensor | tuple[Tensor, Tensor]


def predict(output: Tensor, log_scale: Tensor | None) -> Prediction:
    """Return logits or mean, (B, T, ...), alone, or with the logarithm of the deviations in the shape of the mean."""
    return output if log_scale is None else (output, log_scale.expand_as(output))
