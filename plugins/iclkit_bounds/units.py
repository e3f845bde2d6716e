"""What every bound is computed from: the losses of independent units, bounded above.

A unit is what is drawn independently: a topic (the mean over its sequences) for claims about fresh topics, a
sequence for claims about fresh sequences of the topics at hand. Tokens of one sequence and sequences of one topic
are not independent units of a topic claim, however many there are.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_ROUNDING = 1e-12  # relative; a loss that equals its bound on paper may exceed it by this much in float64


def checked(values: ArrayLike, upper: float, least: float = -np.inf) -> Array:
    """Return losses of n units, float64 (..., n), after making sure that they lie in [least, upper].

    What exceeds a limit by rounding alone is moved onto it. Raises ValueError where there is no unit, where a loss
    is not finite, or where it lies outside.
    """
    losses = np.asarray(values, np.float64)
    if losses.ndim == 0 or losses.shape[-1] == 0:
        raise ValueError(f"losses must be an array (..., n) of n >= 1 units, not of shape {losses.shape}")
    if not np.isfinite(losses).all():
        raise ValueError("losses must be finite: smooth the predictor first, so that none is infinite")
    allowed = _ROUNDING * max(1.0, abs(upper))
    if losses.max() > upper + allowed:
        raise ValueError(f"a loss of {losses.max():.6g} exceeds the upper limit {upper:.6g} that the bound relies on")
    if losses.min() < least - allowed:
        raise ValueError(f"a loss of {losses.min():.6g} is below the lower limit {least:.6g} that the bound relies on")
    return np.clip(losses, least, upper)


def checked_delta(delta: float) -> float:
    """Return delta, the probability with which a bound may fail; ValueError unless 0 < delta < 1."""
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie strictly between 0 and 1, not be {delta}")
    return float(delta)


def topic_means(losses: ArrayLike, topic: ArrayLike) -> Array:
    """Return the mean loss of each topic's sequences, float64 (..., K), in the order of the topic numbers.

    `losses` (..., sequences), `topic` (sequences,) integers. Each mean is an unbiased and independent measurement of
    the loss on fresh topics, whatever the number of its sequences; it is the unit of a claim about fresh topics.
    """
    _, place, count = np.unique(np.asarray(topic), return_inverse=True, return_counts=True)
    array = np.asarray(losses, np.float64)
    sums = np.zeros((*array.shape[:-1], len(count)))
    np.add.at(np.moveaxis(sums, -1, 0), place, np.moveaxis(array, -1, 0))
    return sums / count
