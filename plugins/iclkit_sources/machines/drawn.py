"""A family of machines, every topic a function of its address; the population has no closed form."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from iclkit.api import Batch, Exact, Key
from iclkit_sources.machines.bigrams import machine_bigrams
from iclkit_sources.machines.entropy_rate import entropy_rate
from iclkit_sources.machines.enumeration import mixture_floor, oracle_floor
from iclkit_sources.machines.filters import MachineMixture, MachineOracle
from iclkit_sources.machines.sampling import sample_machines
from iclkit_sources.machines.stack import Machines

Reference = Literal["oracle", "mixture", "population"]


class DrawnMachines:
    """A source of machines that `draw` makes from topic numbers, int64 (K,), and a key with one state per topic."""

    def __init__(self, draw: Callable[[Tensor, Key], Machines]):
        self.topics = draw

    def sample(self, topics: Machines, topic: Tensor, number: Tensor, length: int, key: Key) -> tuple[Tensor, None]:
        """Sample one sequence per entry of `topic`, int64 tokens (B, length), all scored."""
        return sample_machines(topics, topic, length, key), None

    def oracle(self) -> MachineOracle:
        """Return the predictor that knows each sequence's machine."""
        return MachineOracle()

    def mixture(self, topics: Machines, weights: Tensor) -> MachineMixture:
        """Return the predictor that knows these machines and their weights, float64 (K,)."""
        return MachineMixture(topics, weights)

    def population(self) -> None:
        """Return None: there is no closed form."""

    def optimum(
        self, reference: Reference, topics: Machines | None, weights: Tensor | None, length: int
    ) -> Exact | None:
        """Return the exact floor of a reference over given topics, nats; None over the whole family."""
        if topics is None or weights is None:
            return None
        floor = oracle_floor if reference == "oracle" else mixture_floor
        return floor(topics.to(torch.device("cpu")), (weights / weights.sum()).cpu(), length)

    def entropy_rate(self, topics: Machines | None, weights: Tensor | None) -> Exact | None:
        """Return the weighted mean entropy rate of given topics, nats, shape (1,); None over the whole family."""
        return None if topics is None or weights is None else entropy_rate(topics, weights)

    def beliefs(self, batch: Batch) -> Tensor:
        """Return Pr(state after x_l | x_1 .. x_l, topic), float64 (B, T, S)."""
        return MachineOracle().beliefs(batch)

    def bigrams(self, topics: Machines, length: int) -> tuple[Tensor, Tensor]:
        """Return the laws of the first token (K, V) and of neighbours (K, V, V), the mean over l = 2 .. length."""
        return machine_bigrams(topics, length)
