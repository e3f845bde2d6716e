"""Which tokens follow which in hidden Markov models, on average over positions."""

import torch
from torch import Tensor

from iclkit_sources.machines.stack import Machines


def machine_bigrams(machines: Machines, length: int) -> tuple[Tensor, Tensor]:
    """Return the law of the first token (K, V), and of neighbours (K, V, V), averaged over l = 2 .. length.

    pairs[k, i, j] = o T(i) T(j) 1 with o the mean law of the state before each of the first length - 1 tokens; linear
    in the start, so it holds for generalized machines as well.
    """
    emissions = machines.emissions.transpose(1, 2)  # (K, S, V)
    first = (machines.start[:, None] @ emissions).squeeze(1)
    law = mean_law(machines.start, machines.transitions.sum(1), length - 1)
    moved = (law[:, None, None] @ machines.transitions).squeeze(2)  # (K, V, S)
    return first, moved @ emissions


def mean_law(start: Tensor, chain: Tensor, count: int) -> Tensor:
    """Return the mean of start chain^n over n < count, float64 (K, S), of chains (K, S, S)."""
    law, total = start[:, None], torch.zeros_like(start)
    for _ in range(max(1, count)):
        total += law.squeeze(1)
        law = law @ chain
    return total / max(1, count)
