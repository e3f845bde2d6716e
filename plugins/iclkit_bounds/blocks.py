"""Certificates resolved by position: a bound for every block of positions, and for the gain in context between two.

Losses are those of independent units, (units, blocks), nats per token, smoothed block by block (`block_mix`); for
claims about fresh topics they are topic means. A gain says that the certified predictor's loss, averaged over what
the claim is about, is smaller late in the context than at its start: in-context learning, as a certificate.
"""

import numpy as np
from numpy.typing import ArrayLike

from iclkit_bounds import betting
from iclkit_bounds.units import Array


def block_limits(losses: ArrayLike, upper: ArrayLike, delta: float) -> Array:
    """Return an upper limit of the mean loss of each block, float64 (blocks,), nats per token.

    Statement: with probability at least 1 - delta over the units all of them hold together; each has delta / blocks.
    `losses` (units, blocks), `upper` (blocks,). Source: the betting bound and a union.
    """
    columns = np.asarray(losses, np.float64).T
    limits = np.broadcast_to(np.asarray(upper, np.float64), len(columns))
    return np.array(
        [betting.upper_limit(x, float(b), delta / len(columns)) for x, b in zip(columns, limits, strict=True)]
    )


def gain(first: ArrayLike, last: ArrayLike, upper: float, delta: float) -> Array:
    """Return a lower limit of the mean loss of one block minus that of a later one, float64 (...), nats per token.

    Statement: with probability at least 1 - delta over the units. The lower limit of `first` and the upper limit of
    `last`, (..., units) each, at delta / 2 each; neither is negative, `last` is at most `upper`. Source: derived here.
    """
    return betting.lower_limit(first, 0.0, delta / 2) - betting.upper_limit(last, upper, delta / 2)


def paired_gain(first: ArrayLike, last: ArrayLike, upper: float, delta: float) -> Array:
    """Return the lower limit of the same difference from the differences of each unit, float64 (...), nats per token.

    Statement: with probability at least 1 - delta over the units. first - last is at least -upper, because `first` is
    not negative; its mirrored betting bound has all of delta and gains where a unit's blocks are correlated. Choose
    between this and `gain` before looking. Source: derived here.
    """
    differences = np.asarray(first, np.float64) - np.asarray(last, np.float64)
    return betting.lower_limit(differences, -upper, delta)
