"""Certified predictors of real tokens: a density has no largest loss, so the loss is clipped and the rest paid for.

With a fixed density q, p~(x) = (1-a) p(x) + a q(x), and l(x) = -ln p~(x) / T nats per token. A bound U on the mean of
min(l, B) leaves out E (l - B)_+, and

    E l <= U + E (-ln(a q(X)) / T - B)_+,

because p~ >= a q. The last term, the excess, does not depend on the model: it is a property of source, q, a and B,
all fixed beforehand, and is bounded here from the known source. Derived here.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from iclkit_bounds import betting
from iclkit_bounds.smoothing import Smoothed
from iclkit_bounds.units import Array


def clipped_mix(
    log_likelihoods: ArrayLike, fixed: ArrayLike, length: int, upper: float, weight: float = 0.1
) -> Smoothed:
    """Return the clipped losses min(-ln p~/T, B) of sequences of T real tokens, nats per token.

    Parameters
    ----------
    log_likelihoods : ln p(x) of whole sequences under the model, (...), -inf allowed.
    fixed : ln q(x) of the same sequences under the fixed density, (...), finite.
    length : T.
    upper : B, where losses are clipped, chosen before any loss is looked at.
    weight : a.

    A density's loss has no lower limit (`least` is -inf): use bounds that need none, betting or centred Bernstein.
    A certificate for E l is the bound on these losses plus `gaussian_excess` or `sampled_excess`.

    """
    sums, fixed = np.asarray(log_likelihoods, np.float64), np.asarray(fixed, np.float64)
    if np.isnan(sums).any() or not np.isfinite(fixed).all():
        raise ValueError("log-likelihoods must be defined, and those under the fixed density finite")
    if not 0 < weight < 1:
        raise ValueError(f"the weight of the fixed density must lie strictly between 0 and 1, not be {weight}")
    mixed = np.logaddexp(math.log1p(-weight) + sums, math.log(weight) + fixed)
    return Smoothed(
        losses=np.minimum(-mixed / length, upper),
        upper=np.asarray(float(upper)),
        least=np.asarray(-np.inf),
        cost=np.asarray(-math.log1p(-weight) / length),
        model_weight=np.asarray(np.exp(math.log1p(-weight) + sums - mixed).mean()),
    )


def gaussian_excess(eigenvalues: ArrayLike, log_scale: float, length: int, upper: float, weight: float = 0.1) -> float:
    """Return an analytic bound on E (-ln(a q(X))/T - B)_+ for Gaussian X and Gaussian q; nats per token.

    Statement: with certainty. X in R^n is Gaussian with mean 0, q is N(0, S S^T), and `eigenvalues` (..., n) are those
    of S^-1 Cov(X) S^-T; leading dimensions are topics of equal weight. Larger eigenvalues give a larger bound, so a
    covariance that dominates those of all topics may stand for them.

    Parameters
    ----------
    eigenvalues : float64 (..., n); 1 where q has the source's own spread.
    log_scale : ln |det S|; n ln s for S = s I.
    length : T; n is T times the dimension of a token.
    upper : B.
    weight : a.

    Proof: y_+ <= exp(t y - 1)/t for t > 0, and E exp(t |S^-1 X|^2 / 2T) = prod (1 - t e_i / T)^(-1/2). Every t gives a
    bound; the smallest on a grid is returned. Source: derived here, the usual Chernoff argument.

    """
    spread = np.asarray(eigenvalues, np.float64)
    if not (np.isfinite(spread).all() and spread.max() > 0 and spread.min() >= 0):
        raise ValueError("eigenvalues must be finite, at least 0, and not all 0")
    constant = (math.log(1 / weight) + log_scale + spread.shape[-1] * math.log(2 * math.pi) / 2) / length
    tilts = length / spread.max() * np.linspace(0, 1, 514)[1:-1]
    logs = []
    for t in tilts:
        moments = -0.5 * np.log1p(-t * spread / length).sum(-1)
        average = np.logaddexp.reduce(moments, axis=None) - math.log(moments.size)
        logs.append(t * (constant - upper) - 1 - math.log(t) + average)
    return float(np.exp(min(logs)))


def sampled_excess(
    fixed: ArrayLike, length: int, upper: float, ceiling: float, beyond: float, delta: float, weight: float = 0.1
) -> Array:
    """Return a Monte Carlo bound on E (-ln(a q(X))/T - B)_+, float64 (...), nats per token.

    Statement: with probability at least 1 - delta over the n fresh sequences, for a bound `beyond` that holds on the
    excess over B + C, C = `ceiling`. A sample alone bounds nothing that is unbounded: E Y_+ = E min(Y_+, C) +
    E (Y - C)_+, the first by the betting bound on values in [0, C], the second analytically (`gaussian_excess` with
    upper = B + C; 0 where -ln q is bounded on all that the source can emit).

    Parameters
    ----------
    fixed : ln q(x) of fresh sequences, independent of all else, (..., n).
    length : T.
    upper : B.
    ceiling : C > 0, nats per token, chosen beforehand.
    beyond : bound on E (-ln(a q(X))/T - B - C)_+, at least 0.
    delta : share of the probability of failure.
    weight : a.

    """
    if not (ceiling > 0 and beyond >= 0):
        raise ValueError("the ceiling must be positive and the bound beyond it at least 0")
    above = (math.log(1 / weight) - np.asarray(fixed, np.float64)) / length - upper
    return betting.upper_limit(np.clip(above, 0, ceiling), ceiling, delta) + beyond
