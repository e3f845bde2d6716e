"""What a certificate still says where a known share of what it rests on is not as assumed.

Losses lie in [0, B], nats per token; `epsilon` is known or assumed, never estimated from the losses.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from iclkit_bounds import betting
from iclkit_bounds.units import Array, checked


def under_total_variation(value: ArrayLike, upper: float, epsilon: float) -> Array:
    """Return the bound of the true loss where units came from laws within total variation epsilon of the true ones.

    Statement: if `value` bounds the mean loss under the laws P'_i that the independent units came from, and each has
    TV(P'_i, P_i) <= epsilon, then min(value + epsilon B, B) bounds the mean loss under P_i, on the same event. Proof:
    for 0 <= f <= B, E_P f - E_P' f <= B TV(P, P'). Sharp: mass epsilon of the largest losses may have been replaced
    by losses of 0. The other direction, from the true law to a deployment within epsilon of it, is the same formula.
    Derived here.
    """
    return np.minimum(np.asarray(value, np.float64) + _checked(epsilon) * upper, upper)


def under_mixture(value: ArrayLike, upper: float, epsilon: float) -> Array:
    """Return the bound of the clean loss where each unit is foreign with probability epsilon (Huber 1964).

    Statement: if P' = (1-epsilon) P + epsilon R with any R and `value` bounds the mean loss under P', then
    min(value / (1-epsilon), B) bounds that under P, on the same event. Proof: losses are not negative, so E_P' f >=
    (1-epsilon) E_P f. Sharp for R with loss 0, and never worse than `under_total_variation`. Derived here.
    """
    share = _checked(epsilon)
    return np.minimum(np.asarray(value, np.float64) / (1 - share), upper)


def replaced_units(values: ArrayLike, upper: float, delta: float, epsilon: float, cost: ArrayLike = 0.0) -> Array:
    """Return the betting bound where up to floor(epsilon n) of the n units were replaced after a look at all of them.

    Statement: with probability at least 1 - delta over the clean units, whichever were replaced and by whatever.
    Proof: the bound increases in every loss and does not depend on their order; the clean sample differs from the
    observed one in at most that many units, so its bound is at most the one with the *smallest* losses set to B.
    Derived here. `values` (..., n), each at most `upper`; float64 (...), nats.
    """
    losses = np.sort(checked(values, upper), axis=-1)
    losses[..., : math.floor(_checked(epsilon) * losses.shape[-1] + 1e-9)] = upper
    return betting.upper_limit(losses, upper, delta, cost)


def confidence(delta: float, epsilon: float, units: int = 1) -> float:
    """Return 1 - delta - units epsilon, at least 0: the confidence of an unchanged certificate.

    Statement: a bound that fails with probability at most delta under the assumed law of all units fails with at most
    delta + TV under one whose total variation distance from it is TV; for independent units each within epsilon, TV <=
    units epsilon. With units = 1, epsilon is the distance of the joint laws, dependence between units included.
    Proof: TV bounds the difference of any event's probabilities; union over units. Derived here.
    """
    return max(0.0, 1 - delta - units * _checked(epsilon))


def _checked(epsilon: float) -> float:
    if not 0 <= epsilon < 1:
        raise ValueError(f"epsilon must lie in [0, 1), not be {epsilon}")
    return float(epsilon)
