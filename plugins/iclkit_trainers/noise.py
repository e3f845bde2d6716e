"""What is drawn at random in an update: by the module itself, or as noise on its weights."""

import torch
from torch import Tensor
from torch.nn import Module, Parameter

from iclkit.api import Key


class Noise:
    """Standard normal noise on all weights: a function of the step, the same on every process and device.

    Only its last digits may differ between kinds of device, see `Key.normal`.
    """

    def __init__(self, key: Key, size: int, device: torch.device):
        self._key, self._size = Key(key.fold("noise").states.to(device)), size

    def at(self, step: int) -> Tensor:
        """Return the noise of the update that follows `step` updates, float64 (number of weights,)."""
        return self._key.fold(step).normal(self._size)


def add(parameters: list[Parameter], noise: Tensor, scale: float) -> None:
    """Add noise (number of weights,) to the weights."""
    pieces = noise.split([parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.add_(piece.view_as(parameter).to(parameter.dtype), alpha=scale)


def draws(module: Module) -> bool:
    """Tell whether a module draws random numbers when it trains: whether any part has a rate of dropping above 0.

    Rates are numbers called p, dropout, or anything with drop or jitter in it: parts of other libraries apply some of
    theirs without a dropout layer (`attention_dropout`, `layerdrop`).
    """
    return any(isinstance(rate, float) and rate > 0 for part in module.modules() for rate in _rates(part))


def _rates(part: Module) -> list[object]:
    names = {"p", "dropout", *(name for name in vars(part) if "drop" in name or "jitter" in name)}
    return [getattr(part, name, None) for name in names]
