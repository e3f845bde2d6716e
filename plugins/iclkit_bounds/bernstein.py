"""The centred Bernstein bound: holds for martingales and for averages over posteriors, with the variance in it.

Losses X_1 .. X_n come in an order; X_i <= B; m_i is the mean of X_i given everything before it; centres c_i >= c_min
are known before X_i is, c_min before anything. Weights w_i, fixed beforehand, sum to 1. With b = B - c_min,
w = max w_i, psi(g) = (-ln(1-g) - g) / g^2 and a grid of g in (0, 1) with shares pi_g of delta, with probability at
least 1 - delta

    sum w_i m_i <= sum w_i X_i + min_g { g psi(g) / (b w) sum w_i^2 (X_i - c_i)^2
                                         + b w (cost + ln(1 / (pi_g delta))) / g }.

Derived here in the line of Freedman (1975), Fan, Grama and Liu (2015) and of the "unexpected Bernstein" of Mhammedi,
Gruenwald and Guedj (2019):

    ln(1-u) >= -u - psi(g) u^2 for u <= g. With u = eta w_i (X_i - c_i) and eta = g / (b w), u <= g, so
    E[exp(-u - psi u^2) | past] <= 1 - eta w_i (m_i - c_i) <= exp(-eta w_i (m_i - c_i)). Multiply over i: the
    exponential of eta sum w_i (m_i - X_i) - eta^2 psi sum w_i^2 (X_i - c_i)^2 has mean at most 1. Markov for each g
    with pi_g delta; change of measure (Donsker-Varadhan) or a union over codes adds the cost.

It is linear in the posterior: for a Gibbs average use the averages of X_i and of (X_i - c_i)^2.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from iclkit_bounds.units import Array, checked, checked_delta

GRID: tuple[tuple[float, float], ...] = tuple((0.9 * 2.0**-j, 1 / ((j + 1) * (j + 2))) for j in range(12))
"""The values of g and their shares of delta, fixed for all data; few units need large ones, which pay least."""


def psi(g: ArrayLike) -> Array:
    """Return (-ln(1-g) - g) / g^2 for g in (0, 1); it grows from 1/2."""
    g = np.asarray(g, np.float64)
    series = 0.5 + g / 3 + g**2 / 4  # where the difference would cancel
    return np.where(g < 1e-4, series, (-np.log1p(-g) - g) / g**2)


def centred(
    values: ArrayLike,
    centres: ArrayLike,
    upper: float,
    least_centre: float,
    delta: float,
    cost: ArrayLike = 0.0,
    weights: ArrayLike | None = None,
) -> Array:
    """Return the bound of the module on the weighted average of conditional means; float64 (...), nats.

    Parameters
    ----------
    values : losses in their order, (..., n), at most `upper`.
    centres : predictable guesses of them, broadcast with `values`, none below `least_centre`.
    upper : B.
    least_centre : c_min, declared beforehand.
    delta : probability of failure.
    cost : nats, at least 0, broadcast over (...).
    weights : (n,), fixed beforehand, summing to 1; equal if None.

    Raises ValueError where a centre is below its declared minimum or weights do not sum to 1.

    """
    losses = checked(values, upper)
    centres = np.asarray(centres, np.float64)
    if np.min(centres) < least_centre - 1e-12:
        raise ValueError(f"a centre of {np.min(centres):.6g} is below {least_centre:.6g}, the least one declared")
    n = losses.shape[-1]
    shares = np.full(n, 1 / n) if weights is None else np.asarray(weights, np.float64)
    if shares.shape != (n,) or shares.min() < 0 or abs(shares.sum() - 1) > 1e-9:
        raise ValueError(f"weights must be {n} numbers of at least 0 that sum to 1")
    spread = (shares**2 * (losses - centres) ** 2).sum(-1)
    return from_moments((shares * losses).sum(-1), spread, float(shares.max()), upper, least_centre, delta, cost)


def from_moments(
    mean: ArrayLike,
    spread: ArrayLike,
    largest: float,
    upper: float,
    least_centre: float,
    delta: float,
    cost: ArrayLike = 0.0,
) -> Array:
    """Return the bound from sum w_i X_i, sum w_i^2 (X_i - c_i)^2 and max w_i, or from their posterior averages."""
    width = (upper - least_centre) * largest
    if not width > 0:
        raise ValueError("the least centre must lie below the upper limit of the losses")
    price = np.maximum(cost, 0.0) - math.log(checked_delta(delta))
    slacks = [
        g * float(psi(g)) / width * np.asarray(spread) + width * (price - math.log(share)) / g for g, share in GRID
    ]
    return np.minimum(np.asarray(mean, np.float64) + np.min(slacks, axis=0), upper)
