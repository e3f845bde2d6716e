"""The exact floor h_l of hidden Markov models, by enumerating beliefs breadth first.

Level l holds every belief that l - 1 tokens can lead to, with its probability; h_l is the mean over it of the
entropy of the next token, h_l = <delta| W^(l-1) |H> (arXiv 2505.18373, 1.3 and 1.5). Equal beliefs are merged, so
processes with few beliefs (Golden Mean 3, Even 4) are followed to any length; others until there are too many.
"""

from collections.abc import Callable

import numpy as np
from attrs import frozen
from torch import Tensor

from iclkit.api import Exact
from iclkit_sources.machines.stack import Machines

BELIEFS = 200_000
"""How many beliefs a level may have."""
CELLS = 16_000_000
"""How many numbers the beliefs of a level may have together, once for every next token."""
GRID = 1e-12
"""Beliefs that agree on this grid, entry by entry, are merged into their mean; what that costs is in the error."""
NEGLIGIBLE = 1e-17
"""Beliefs of less probability are dropped; what that costs is in the error."""

Step = Callable[["_Level"], np.ndarray]


@frozen(eq=False)
class _Level:
    """Beliefs after as many tokens: owner (n,), belief (n, K, S) summing to 1 over (K, S), probability (n,)."""

    owner: np.ndarray
    belief: np.ndarray
    probability: np.ndarray


def mixture_floor(machines: Machines, weights: Tensor, length: int) -> Exact:
    """Return h_l of the mixture, nats, l = 1 .. length; the belief is joint over topic and state.

    `weights` is a float64 tensor (K,) summing to 1.
    """
    transitions = machines.transitions.cpu().numpy()  # (K, V, S, S)
    joint = (weights[:, None] * machines.start).cpu().numpy()[None]
    level = _Level(np.zeros(1, dtype=np.int64), joint, np.ones(1))
    return _enumerate(level, lambda at: np.einsum("nks,kvst->nvkt", at.belief, transitions, optimize=True), length)


def oracle_floor(machines: Machines, weights: Tensor, length: int) -> Exact:
    """Return the weighted mean of the topics' own h_l, nats, l = 1 .. length."""
    transitions = machines.transitions.cpu().numpy()
    belief = machines.start.cpu().numpy()[:, None]  # (K, 1, S)
    level = _Level(np.arange(len(belief)), belief, weights.cpu().numpy())

    def step(at: _Level) -> np.ndarray:
        joint = np.empty((len(at.owner), transitions.shape[1], *at.belief.shape[1:]))
        first, ends = 0, np.searchsorted(at.owner, np.arange(len(transitions)), side="right")
        for own, end in zip(transitions, ends, strict=True):  # owners are in order
            joint[first:end] = np.einsum("nks,vst->nvkt", at.belief[first:end], own, optimize=True)
            first = end
        return joint

    return _enumerate(level, step, length)


def _enumerate(level: _Level, step: Step, length: int) -> Exact:
    values, error = np.full(length, np.nan), np.full(length, np.nan)
    lost = moved = 0.0
    for position in range(length):
        joint = step(level)  # Pr(token, topic, state | belief), (n, V, K, S)
        chance = joint.sum((2, 3))  # (n, V)
        values[position] = level.probability @ entropies(chance)
        rounding = 1e-14 + 1e-15 * position
        error[position] = lost * np.log(chance.shape[1]) + continuity(moved, chance.shape[1]) + rounding
        if position + 1 == length:
            break
        level, dropped, merged = _next(level, joint, chance)
        lost, moved = lost + dropped, moved + merged
        if len(level.owner) > BELIEFS or level.belief.size * chance.shape[1] > CELLS:
            break
    return Exact(values=values, method="belief-enumeration", error=error)


def _next(level: _Level, joint: np.ndarray, chance: np.ndarray) -> tuple[_Level, float, float]:
    """Return the next level, the probability that was dropped, and how far merging moved the beliefs on average."""
    probability = level.probability[:, None] * chance  # (n, V)
    kept = probability > NEGLIGIBLE
    dropped = float(probability[~kept].sum())
    belief = joint[kept] / chance[kept][:, None, None]
    owner, probability = np.repeat(level.owner, kept.sum(1)), probability[kept]

    flat = belief.reshape(len(owner), -1)
    _, first, group = np.unique(_digest(owner, flat), return_index=True, return_inverse=True)
    total = np.bincount(group, probability)
    mean = np.zeros((len(first), flat.shape[1]))
    np.add.at(mean, group, flat * (probability / total[group])[:, None])
    merged = float(probability @ np.abs(flat - mean[group]).sum(1))

    in_order = np.argsort(owner[first], kind="stable")
    shape = (len(first), *belief.shape[1:])
    return _Level(owner[first][in_order], mean[in_order].reshape(shape), total[in_order]), dropped, merged


def _digest(owner: np.ndarray, belief: np.ndarray) -> np.ndarray:
    """Return 64-bit digests of (owner, belief on the grid), int64 (n,)."""
    factors = np.random.Generator(np.random.PCG64(0)).integers(-(2**63), 2**63, 1 + belief.shape[1], dtype=np.int64)
    cells = np.rint(belief / GRID).astype(np.int64)
    return cells @ (factors[1:] | 1) + owner * factors[0]  # wraps around


def entropies(chance: np.ndarray) -> np.ndarray:
    """Return the entropy of distributions (n, V), nats."""
    return -(chance * np.log(np.where(chance > 0, chance, 1.0))).sum(1)


def continuity(distance: float, size: int) -> float:
    """Bound the mean change of entropy over `size` outcomes when the mean L1 distance is this (Fannes-Audenaert)."""
    half = min(distance / 2, 1 - 1 / size) if size > 1 else 0.0
    if half <= 0:
        return 0.0
    return half * np.log(size - 1) - half * np.log(half) - (1 - half) * np.log1p(-half)
