"""Stationary distributions of many chains at once, without subtractions: small probabilities keep their digits."""

import torch
from torch import Tensor

_SMALLEST = 1e-300


def stationary(chain: Tensor) -> Tensor:
    """Return pi = pi chain of row-stochastic matrices (K, S, S), float64 (K, S) (Grassmann, Taksar and Heyman, 1985).

    States are removed one by one, last first, and put back. Every entry has a small relative error, however close a
    chain is to falling apart. Where it does fall apart, one of its stationary distributions is returned. Sums are taken
    in order, so that a chain's bits do not depend on its neighbours.
    """
    chain = chain.clone()
    states = chain.shape[-1]
    leaving = chain.new_ones(chain.shape[:-1])
    for last in range(states - 1, 0, -1):
        leaving[:, last] = chain[:, last, :last].cumsum(-1)[:, -1].clamp_(min=_SMALLEST)
        through = chain[:, :last, last] / leaving[:, None, last]
        chain[:, :last, :last] += through[:, :, None] * chain[:, None, last, :last]
    result = torch.zeros_like(leaving)
    result[:, 0] = 1
    for state in range(1, states):
        flow = (result[:, :state] * chain[:, :state, state]).cumsum(-1)[:, -1] / leaving[:, state]
        result[:, state] = flow
        result[:, : state + 1] /= result[:, : state + 1].cumsum(-1)[:, -1:]
    return result
