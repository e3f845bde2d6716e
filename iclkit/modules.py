"""The model of a cell, with its initial weights."""

import torch
from torch.nn import Module

from iclkit.config import Config
from iclkit.keys import Key


def build_module(config: Config) -> Module:
    """Build the model of a cell with its initial weights, which depend on `seeds.model` alone."""
    torch.manual_seed(int(Key.root(config.seeds.model).fold("weights").bits()) & (1 << 62) - 1)
    return config.model.build(config.source.facts.space, config.context)
