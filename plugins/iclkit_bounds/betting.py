"""The betting bound: a gambler's wealth against every value that the mean loss might have.

Losses X_1 .. X_n, independent, X_i <= B, with means m_i that may differ; m is their average. Against the claim
"the mean is m" the gambler stakes a fixed fraction c of the wealth on every unit,

    W(m) = sum_g pi_g prod_i [1 - c_g + c_g (B - X_i) / (B - m)],

and m is ruled out where W(m) >= 1 / delta. Derived here, after the betting bounds of Waudby-Smith and Ramdas (2024),
whose adaptive stakes need equal means; fixed stakes do not:

    At the true m, E W = sum_g pi_g prod_i [1 - c_g + c_g (B - m_i) / (B - m)] <= sum_g pi_g = 1, because a product is
    at most the power of its factors' average (AM-GM), which is 1. By Markov W(m) >= 1 / delta has probability at
    most delta. W increases in m, so the values not ruled out end at one point U, and P(m > U) <= delta.

For a predictor chosen with help of the same units the threshold 1 / delta grows by a cost in nats: a code length, a
log density ratio of a draw, a path's log-likelihood ratio. All losses and bounds are in nats per token.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from iclkit_bounds.units import Array, checked, checked_delta

_FEW = ((1.0, 0.4), (0.6, 0.2), (0.3, 0.2), (0.1, 0.2))  # (stake, weight) below 100 units
_MANY = 37
_TOLERANCE = 1e-10  # nats


def stakes(n: int) -> tuple[Array, Array]:
    """Return the stakes c_g and their weights pi_g, float64 (G,), a function of the number of units alone."""
    if n < 100:
        return np.array([c for c, _ in _FEW]), np.array([w for _, w in _FEW])
    return np.geomspace(1.0, 0.3 / math.sqrt(n), _MANY), np.full(_MANY, 1 / _MANY)


def log_wealth(
    values: ArrayLike, mean: ArrayLike, upper: float, grid: tuple[Array, Array] | None = None, copies: float = 1.0
) -> Array:
    """Return ln W(m), float64 (...), of losses (..., n) against a mean (...) below `upper`.

    It increases in the mean; -inf where every stake was lost. `grid`: stakes and weights, else `stakes(n)`. `copies`:
    how often each loss counts, 1 but in plans.
    """
    losses = checked(values, upper)
    fractions, weights = stakes(losses.shape[-1]) if grid is None else grid
    claimed = np.asarray(mean, np.float64)[..., None]
    gains = (claimed - losses) / (upper - claimed)
    with np.errstate(divide="ignore"):  # a lost stake of 1 leaves nothing
        wealth = copies * np.stack([np.log1p(c * gains).sum(-1) for c in fractions], axis=-1)
    return np.logaddexp.reduce(wealth + np.log(weights), axis=-1)


def upper_limit(
    values: ArrayLike,
    upper: float,
    delta: float,
    cost: ArrayLike = 0.0,
    grid: tuple[Array, Array] | None = None,
) -> Array:
    """Return U = inf{m : ln W(m) >= ln(1/delta) + cost}, or `upper` where there is none; float64 (...), nats.

    Statement: P(m <= U) >= 1 - delta over the units, for a predictor that does not depend on them (cost 0), for all
    predictors at once whose costs satisfy sum exp(-cost) <= 1, or for one drawn with cost ln dQ/dP. Source: derived
    here, see the module.

    Parameters
    ----------
    values : losses (..., n), each at most `upper`; nats.
    upper : B, nats.
    delta : probability of failure.
    cost : nats, broadcast over (...); negative costs count as 0.
    grid : stakes and weights that do not depend on the losses, else `stakes(n)`.

    The root is bracketed to 1e-10 nat, or to what float64 resolves, and the upper end returned. Raises ValueError where
    a loss exceeds `upper`.

    """
    losses = checked(values, upper)
    wanted = math.log(1 / checked_delta(delta)) + np.maximum(cost, 0.0)
    low, wanted = np.broadcast_arrays(losses.mean(-1), wanted)  # W at the sample mean is at most 1
    low, high = low.copy(), np.full(low.shape, float(upper))
    tolerance = max(_TOLERANCE, 4 * float(np.spacing(max(abs(upper), np.abs(low).max()))))  # large numbers are coarser
    while np.max(high - low) > tolerance:
        middle = (low + high) / 2
        below = np.where(middle < upper, middle, upper - 1)  # a bound that has reached the limit stays there
        ruled_out = log_wealth(losses, below, upper, grid) >= wanted
        low, high = np.where(ruled_out, low, middle), np.where(ruled_out, middle, high)
    return high


def lower_limit(values: ArrayLike, least: float, delta: float, cost: ArrayLike = 0.0) -> Array:
    """Return the mirrored bound: P(m >= lower limit) >= 1 - delta for losses (..., n) that are at least `least`.

    The upper limit of -X, which is at most -least, turned round. A loss of tokens from a finite vocabulary is never
    negative, smoothed or not, so `least` = 0 always may be used there. Source: derived here.
    """
    return -upper_limit(-np.asarray(values, np.float64), -least, delta, cost)


def floor_limit(values: ArrayLike, upper: float, delta: float, cost: ArrayLike = 0.0) -> Array:
    """Return U = B - (delta e^-cost prod_i (B - X_i))^(1/n), float64 (...): the betting bound with all staked, c = 1.

    It holds as `upper_limit` does and needs no search. No bound for arbitrary losses can be lower where all X_i are
    equal to x: with probability 1 - delta^(1/n) a unit may have had loss B, unseen in n units with probability delta.
    Source: derived here.
    """
    losses = checked(values, upper)
    with np.errstate(divide="ignore"):
        logs = np.log(upper - losses).sum(-1) - math.log(1 / checked_delta(delta)) - np.maximum(cost, 0.0)
    return upper - np.exp(logs / losses.shape[-1])
