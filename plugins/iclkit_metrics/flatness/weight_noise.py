"""Gaussian noise on a module's weights, by address."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import Module

from iclkit.api import Key


def draw(module: Module, relative: bool, key: Key) -> dict[str, Tensor]:
    """Return standard normal noise for every trainable weight, a function of the key and the weight's name and place.

    With `relative` each tensor's is times its root mean square.
    """
    noise = {}
    for name, weight in module.named_parameters():
        each = key.fold(name).normal(weight.numel()).view(weight.shape)
        noise[name] = each * (weight.detach().cpu().double().square().mean().sqrt() if relative else 1.0)
    return noise


@contextmanager
def disturbed(module: Module, noise: Mapping[str, Tensor], scale: float) -> Iterator[None]:
    """Add `scale` times noise to the weights, and give them their values back afterwards."""
    kept = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    try:
        with torch.no_grad():
            for name, weight in module.named_parameters():
                weight.copy_(kept[name].double() + scale * noise[name].to(weight.device))
        yield
    finally:
        with torch.no_grad():
            for name, weight in module.named_parameters():
                weight.copy_(kept[name])
