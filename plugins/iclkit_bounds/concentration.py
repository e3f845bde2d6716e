"""Classical upper limits of a mean of n independent bounded losses, to compare with betting.

All take losses (..., n) in [least, upper], nats per token, and return float64 (...), never more than `upper`.
Each holds with probability at least 1 - delta over the units for a predictor that does not depend on them, and
bounds the average m of their means, which may differ.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from iclkit_bounds.units import Array, checked, checked_delta


def hoeffding(values: ArrayLike, upper: float, delta: float, least: float = 0.0) -> Array:
    """Return X- + (upper - least) sqrt(ln(1/delta) / 2n) (Hoeffding 1963, Theorem 2)."""
    losses = checked(values, upper, least)
    slack = (upper - least) * math.sqrt(math.log(1 / checked_delta(delta)) / (2 * losses.shape[-1]))
    return np.minimum(losses.mean(-1) + slack, upper)


def chernoff(values: ArrayLike, upper: float, delta: float, least: float = 0.0) -> Array:
    """Return the largest m with kl(X-, m) <= ln(1/delta) / n, in units of the range (Hoeffding 1963, Theorem 1)."""
    losses = checked(values, upper, least)
    return _scaled(losses.mean(-1), math.log(1 / checked_delta(delta)) / losses.shape[-1], upper, least)


def seeger(values: ArrayLike, upper: float, delta: float, least: float = 0.0) -> Array:
    """Return the largest m with kl(X-, m) <= ln(2 sqrt(n)/delta) / n: the PAC-Bayes form at divergence 0.

    Seeger (2002) with Maurer's (2004) constant. For one fixed predictor `chernoff` holds as well and is tighter; this
    is the form that goes on to hold for all posteriors.
    """
    losses = checked(values, upper, least)
    n = losses.shape[-1]
    return _scaled(losses.mean(-1), math.log(2 * math.sqrt(n) / checked_delta(delta)) / n, upper, least)


def empirical_bernstein(values: ArrayLike, upper: float, delta: float, least: float = 0.0) -> Array:
    """Return X- + sqrt(2 v ln(3/delta)/n) + 3 (upper - least) ln(3/delta)/n, v = mean (X_i - X-)^2.

    Audibert, Munos and Szepesvari (2009), Theorem 1. They take identically distributed units; their proof goes through
    for independent ones of different means, with the mean of E (X_i - m)^2 where it has the variance.
    """
    losses = checked(values, upper, least)
    n, x = losses.shape[-1], math.log(3 / checked_delta(delta))
    slack = np.sqrt(2 * losses.var(-1) * x / n) + 3 * (upper - least) * x / n
    return np.minimum(losses.mean(-1) + slack, upper)


def maurer_pontil(values: ArrayLike, upper: float, delta: float, least: float = 0.0) -> Array:
    """Return X- + sqrt(2 v ln(2/delta)/n) + 7 (upper - least) ln(2/delta) / (3 (n-1)), v with n-1 below the sum.

    Maurer and Pontil (2009), Theorem 11, for independent units. With a single one it is `upper`.
    """
    losses = checked(values, upper, least)
    n, x = losses.shape[-1], math.log(2 / checked_delta(delta))
    if n == 1:
        return np.full(losses.shape[:-1], float(upper))
    slack = np.sqrt(2 * losses.var(-1, ddof=1) * x / n) + 7 * (upper - least) * x / (3 * (n - 1))
    return np.minimum(losses.mean(-1) + slack, upper)


def binomial_tail(k: int, n: int, p: float) -> float:
    """Return P(Bin(n, p) <= k), summed in logarithms term by term."""
    if p <= 0 or p >= 1:
        return 1.0 if p <= 0 or k >= n else 0.0
    j = np.arange(1, k + 1)
    choose = np.concatenate([[0.0], np.cumsum(np.log((n - j + 1) / j))])  # ln of the binomial coefficients 0 .. k
    terms = choose + np.arange(k + 1) * math.log(p) + (n - np.arange(k + 1)) * math.log1p(-p)
    return min(1.0, float(np.exp(np.logaddexp.reduce(terms))))


def bernoulli_kl(p: ArrayLike, q: ArrayLike) -> Array:
    """Return kl(p, q) of two coins, nats; inf where q rules out what p allows."""
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        heads = np.where(p > 0, p * np.log(p / q), 0.0)
        tails = np.where(p < 1, (1 - p) * (np.log1p(-p) - np.log1p(-q)), 0.0)
    return heads + tails


def kl_inverse(p: ArrayLike, radius: ArrayLike) -> Array:
    """Return the largest q >= p with kl(p, q) <= radius, the upper end of a bracket of 1e-12; 1 where there is none."""
    p, radius = np.broadcast_arrays(np.asarray(p, np.float64), np.asarray(radius, np.float64))
    low, high = p.copy(), np.ones(p.shape)
    while np.max(high - low) > 1e-12:
        middle = (low + high) / 2
        within = bernoulli_kl(p, middle) <= radius
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    return high


def _scaled(mean: Array, radius: ArrayLike, upper: float, least: float) -> Array:
    """Return `kl_inverse` of losses that lie in [least, upper]."""
    return least + (upper - least) * kl_inverse(np.clip((mean - least) / (upper - least), 0, 1), radius)
