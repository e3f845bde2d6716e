"""Entropy rates of hidden Markov models, in closed form or between rigorous bounds.

A unifilar model (state and token fix the next state) has h = sum_s pi_s H(s). Any other obeys
H[X_L | X_<L, S_0] <= h <= H[X_L | X_<L] for a stationary start (Cover and Thomas, 4.5); both sides are enumerated
until they meet, or the budget of beliefs is spent.
"""

from collections.abc import Iterator

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Exact
from iclkit_sources.machines.enumeration import entropies, oracle_floor
from iclkit_sources.machines.stack import Machines
from iclkit_sources.machines.stationary import stationary

_LONGEST = 512  # tokens
_CLOSE = 1e-12  # nats


@frozen(eq=False)
class _Part:
    """A closed set of states of one machine: which, how likely it is to end there, and its stationary distribution."""

    machine: int
    weight: float
    law: np.ndarray


def entropy_rate(machines: Machines, weights: Tensor) -> Exact:
    """Return the weighted mean entropy rate, nats, shape (1,); weights (K,) of any positive sum.

    A machine that may settle in several closed sets of states counts each as often as it is reached. The error is a
    bound: rounding, or half the distance of the two bounds.
    """
    machines, weights = machines.to(torch.device("cpu")), (weights / weights.sum()).cpu()
    transitions = machines.transitions.numpy()
    value, error, rest = 0.0, 1e-13, []
    for part in _parts(machines, weights):
        states = part.law > 0
        unifilar = ((transitions[part.machine][:, states] > 0).sum(-1) <= 1).all()
        if unifilar:
            value += part.weight * float(part.law @ entropies(transitions[part.machine].sum(-1).T))
        else:
            rest.append(part)
    if not rest:
        return Exact(values=np.array([value]), method="closed-form", error=np.array([error]))
    low, high = _bounds(machines, rest)
    value, error = value + (low + high) / 2, error + (high - low) / 2
    return Exact(values=np.array([value]), method="belief-enumeration", error=np.array([error]))


def _bounds(machines: Machines, parts: list[_Part]) -> tuple[float, float]:
    """Return bounds of the sum over parts of weight times entropy rate, nats."""
    which = torch.tensor([part.machine for part in parts])
    law = torch.from_numpy(np.array([part.law for part in parts]))  # (n, S)
    weights = torch.tensor([part.weight for part in parts], dtype=torch.float64)
    blind = Machines(transitions=machines.transitions[which], start=law, numbers=which)
    states = machines.states
    told = Machines(  # each part once for each state it may start in
        transitions=blind.transitions[:, None].expand(-1, states, -1, -1, -1).flatten(0, 1),
        start=torch.eye(states, dtype=torch.float64).repeat(len(parts), 1),
        numbers=which.repeat_interleave(states),
    )
    own = (weights[:, None] * law).flatten()
    low, high, length = 0.0, float(np.log(machines.vocabulary)) * float(weights.sum()), 8
    while True:
        upper, lower = oracle_floor(blind, weights, length), oracle_floor(told, own, length)
        high = min(high, float(np.nanmin(upper.values + upper.error)))
        low = max(low, float(np.nanmax(lower.values - lower.error)))
        spent = np.isnan(upper.values[-1]) or np.isnan(lower.values[-1])
        if spent or high - low < _CLOSE or length >= _LONGEST:
            return min(low, high), high
        length *= 2


def _parts(machines: Machines, weights: Tensor) -> Iterator[_Part]:
    chains = machines.transitions.sum(1)
    for index, (chain, start, weight) in enumerate(
        zip(chains.numpy(), machines.start.numpy(), weights.tolist(), strict=True)
    ):
        classes = closed_classes(chain)
        for states, share in zip(classes, _absorbed(chain, start, classes), strict=True):
            if weight * share > 0:
                law = np.zeros(len(start))
                law[states] = stationary(torch.from_numpy(chain[np.ix_(states, states)])[None])[0].numpy()
                yield _Part(index, weight * share, law)


def closed_classes(chain: np.ndarray) -> list[np.ndarray]:
    """Return the sets of states, int64 arrays, that cannot be left and whose states reach each other."""
    reach = (chain > 0) | np.eye(len(chain), dtype=bool)
    while True:
        further = (reach.astype(np.float64) @ reach) > 0
        if (further == reach).all():
            break
        reach = further
    closed = (reach <= reach.T).all(1)  # whatever is reached leads back
    firsts = {int(row.argmax()): np.nonzero(row)[0] for row in reach[closed]}
    return list(firsts.values())


def _absorbed(chain: np.ndarray, start: np.ndarray, classes: list[np.ndarray]) -> list[float]:
    """Return how likely each closed class is to be reached; the shares sum to 1."""
    if len(classes) == 1:
        return [1.0]
    passing = np.setdiff1d(np.arange(len(chain)), np.concatenate(classes))
    visits = np.linalg.solve((np.eye(len(passing)) - chain[np.ix_(passing, passing)]).T, start[passing])
    shares = [float(start[states].sum() + visits @ chain[np.ix_(passing, states)].sum(1)) for states in classes]
    return [share / sum(shares) for share in shares]
