"""Mixtures of sources: compiled into one stack of machines where every component is one, generic otherwise."""

import torch

from iclkit_sources.chains.source import ChainSource
from iclkit_sources.coins.source import CoinSource
from iclkit_sources.machines.listed import MachineSource
from iclkit_sources.machines.stack import concatenate
from iclkit_sources.mixtures.components import ComponentMixture
from iclkit_sources.mixtures.config import Mixture


def build(config: Mixture) -> MachineSource | ComponentMixture:
    """Build the mixture of a config."""
    sources = [component.build() for component in config.components]
    compiled = [
        each.compiled() if isinstance(each, ChainSource | CoinSource | MachineSource) else None for each in sources
    ]
    size = config.size()
    stacks, weights = [], []
    for part, weight, vocabulary in zip(compiled, config.component_weights(), config.maps(), strict=True):
        if part is None:
            return ComponentMixture(config, sources)
        machines, own = part
        stacks.append(machines.relabel(vocabulary, size))
        weights.append(weight * own)
    return MachineSource(concatenate(stacks), torch.cat(weights))
