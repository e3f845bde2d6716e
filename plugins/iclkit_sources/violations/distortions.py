"""Machines whose structure is violated: each function takes machines and returns machines, so all stays exact.

`amount` is the share a of what is put in the place of the original, 0 .. 1.
"""

import torch
from torch import Tensor

from iclkit_sources.machines.stack import Machines

_TOLERANCE = 1e-12


def overlapped(machines: Machines, amount: float) -> Machines | None:
    """Return (1 - a) T_k + a mean_j T_j, first states alike; None where the numbers of states differ."""
    if not bool((machines.emissions.sum(1) > 0.5).all()):  # a state that a machine lacks emits nothing
        return None
    transitions, start = machines.transitions, machines.start
    return _changed(
        machines,
        transitions=(1 - amount) * transitions + amount * transitions.mean(0),
        start=(1 - amount) * start + amount * start.mean(0),
    )


def loosened(machines: Machines, amount: float) -> Machines | None:
    """Return the machines with their chain of states A replaced by (1 - a) A + a uniform, tokens shown as before.

    A token must depend only on the state that is left, or only on the one that is entered; where both are true, that
    it is left counts. None where neither is, or where there is only one state.
    """
    transitions = machines.transitions  # (K, V, S, S)
    chain = transitions.sum(1, keepdim=True)  # (K, 1, S, S)
    if machines.states == 1:
        return None
    by_left = machines.emissions[..., None]  # (K, V, S, 1)
    arriving = chain.sum(2, keepdim=True)  # (K, 1, 1, S)
    by_entered = transitions.sum(2, keepdim=True) / torch.where(arriving > 0, arriving, 1.0)  # (K, V, 1, S)
    present = (machines.emissions.sum(1) > 0.5).double()  # (K, S)
    everywhere = present[:, None, :, None] * (present / present.sum(1, keepdim=True))[:, None, None, :]
    entered = present * (arriving[:, 0, 0] > 0)
    reachable = present[:, None, :, None] * (entered / entered.sum(1, keepdim=True))[:, None, None, :]
    left_alone, entered_alone = (
        _equal(transitions, shown * chain)[:, None, None, None] for shown in (by_left, by_entered)
    )
    if not bool((left_alone | entered_alone).all()):
        return None
    uniform = torch.where(left_alone, by_left * everywhere, by_entered * reachable)
    return _changed(machines, transitions=(1 - amount) * transitions + amount * uniform)


def noisy(machines: Machines, amount: float) -> Machines:
    """Return the machines with each token shown replaced by a uniform one with probability a; states go on as ever."""
    mean = machines.transitions.mean(1, keepdim=True)
    return _changed(machines, transitions=(1 - amount) * machines.transitions + amount * mean)


def structureless(machines: Machines, amount: float) -> Machines:
    """Return the machines with one state more, entered at the start with probability a: uniform tokens for ever."""
    transitions = torch.nn.functional.pad(machines.transitions, (0, 1, 0, 1))
    transitions[:, :, -1, -1] = 1 / machines.vocabulary
    start = torch.nn.functional.pad((1 - amount) * machines.start, (0, 1), value=amount)
    return _changed(machines, transitions=transitions, start=start)


def _equal(one: Tensor, other: Tensor) -> Tensor:
    """Return which topics agree, bool (K,)."""
    return (one - other).abs().flatten(1).amax(1) < _TOLERANCE


def _changed(machines: Machines, transitions: Tensor, start: Tensor | None = None) -> Machines:
    return Machines(transitions=transitions, start=machines.start if start is None else start, numbers=machines.numbers)
