"""Families of listed hidden Markov models: one process, a name mixture, or a compiled mixture."""

from typing import Literal

import torch
from torch import Tensor

from iclkit.api import Batch, Exact, Key
from iclkit_sources.checks import normalised
from iclkit_sources.coins import counting
from iclkit_sources.machines import zoo
from iclkit_sources.machines.bigrams import machine_bigrams
from iclkit_sources.machines.configs import MrName, ProcessConfig
from iclkit_sources.machines.entropy_rate import entropy_rate
from iclkit_sources.machines.enumeration import mixture_floor, oracle_floor
from iclkit_sources.machines.filters import MachineMixture, MachineOracle
from iclkit_sources.machines.mixed_states import present
from iclkit_sources.machines.sampling import sample_machines
from iclkit_sources.machines.stack import Machines, concatenate, machine

Reference = Literal["oracle", "mixture", "population"]

_LONG = 512  # tokens from which a finite graph of beliefs is worth making


class MachineSource:
    """A listed family of hidden Markov models.

    Parameters
    ----------
    family : all its topics, numbered 1 .. K.
    weights : float64 tensor (K,), of any positive sum.
    recurring : the tokens whose recurrence tells the topic, such as names.

    """

    def __init__(self, family: Machines, weights: Tensor, recurring: tuple[int, ...] = ()):
        self.family, self._recurring = family, recurring
        self.weights = weights / weights.sum()

    def topics(self, numbers: Tensor, key: Key) -> Machines:
        """Return the machines of these numbers, int64 (K,) within 1 .. len(family), on their device."""
        return self.family[(numbers - 1).to(self.family.numbers.device)].to(numbers.device)

    def sample(self, topics: Machines, topic: Tensor, number: Tensor, length: int, key: Key) -> tuple[Tensor, None]:
        """Sample one sequence per entry of `topic`, int64 tokens (B, length), all scored."""
        return sample_machines(topics, topic, length, key), None

    def oracle(self) -> MachineOracle:
        """Return the predictor that knows each sequence's machine."""
        return MachineOracle()

    def mixture(self, topics: Machines, weights: Tensor) -> MachineMixture:
        """Return the predictor that knows these machines and their weights, float64 (K,)."""
        return MachineMixture(topics, weights)

    def population(self) -> MachineMixture:
        """Return the mixture of the whole family."""
        return MachineMixture(self.family, self.weights)

    def optimum(self, reference: Reference, topics: Machines | None, weights: Tensor | None, length: int) -> Exact:
        """Return the exact floor of a reference, nats, l = 1 .. length; NaN past the budget of beliefs."""
        if reference == "population" or topics is None or weights is None:
            topics, weights = self.family, self.weights
        machines, weights = topics.to(torch.device("cpu")), (weights / weights.sum()).cpu()
        if machines.states == 1:  # independent tokens
            shown = machines.transitions[:, :, 0, 0]  # (K, V)
            if reference == "oracle":
                return counting.constant(float(weights @ torch.special.entr(shown).sum(1)), length)
            if machines.vocabulary == 2:
                return counting.listed_floor(shown[:, 1], weights, length)
        if length > _LONG and (reference != "oracle" or len(machines) == 1):
            presentation = present(machines, weights)
            if presentation is not None:
                return presentation.floor(length)
        return (oracle_floor if reference == "oracle" else mixture_floor)(machines, weights, length)

    def entropy_rate(self, topics: Machines | None, weights: Tensor | None) -> Exact:
        """Return the weighted mean entropy rate of these topics, nats, shape (1,); of the whole family if None."""
        if topics is None or weights is None:
            topics, weights = self.family, self.weights
        return entropy_rate(topics, weights)

    def beliefs(self, batch: Batch) -> Tensor:
        """Return Pr(state after x_l | x_1 .. x_l, topic), float64 (B, T, S)."""
        return MachineOracle().beliefs(batch)

    def bigrams(self, topics: Machines, length: int) -> tuple[Tensor, Tensor]:
        """Return the laws of the first token (K, V) and of neighbours (K, V, V), the mean over l = 2 .. length."""
        return machine_bigrams(topics, length)

    def recurring_tokens(self) -> tuple[int, ...]:
        """Return the tokens whose recurrence tells the topic; none for most families."""
        return self._recurring

    def compiled(self) -> tuple[Machines, Tensor]:
        """Return the family and its weights."""
        return self.family, self.weights


def build_process(config: ProcessConfig) -> MachineSource:
    """Build the source of one process."""
    return MachineSource(machine(config.process()), torch.ones(1, dtype=torch.float64))


def build_mr_name(config: MrName) -> MachineSource:
    """Build the name mixture."""
    author = machine(zoo.mr_name(config.p, config.q))
    authors = [author.relabel((0, 1, 2, 3 + name), 3 + config.names) for name in range(config.names)]
    weights = normalised(config.weights, config.names)
    names = tuple(range(3, 3 + config.names))
    return MachineSource(concatenate(authors), torch.tensor(weights, dtype=torch.float64), names)
