"""Certified predictors of real tokens: a density has no largest loss, so the loss is clipped and the rest paid for.

With a fixed density q, p~(x) = (1-a) p(x) + a q(x), and l(x) = -ln p~(x) / T nats per token. A bound U on the mean of
min(l, B) leaves out E (l - B)_+, and

    E l <= U + E (-ln(a q(X)) / T - B)_+,

because p~ >= a q. The last term, the excess, does not depend on the model: it is a property of source, q, a and B,
all fixed beforehand, and is bounded here from the known source. Derived here.
"""

import math

import numpy as np
from attrs import frozen
from numpy.typing import ArrayLike

from iclkit_bounds import betting
from iclkit_bounds.smoothing import Smoothed
from iclkit_bounds.units import Array

_GRID = np.linspace(0, 1, 514)[1:-1]  # of tilts, in units of the largest


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
    tilts = length / spread.max() * _GRID
    averages = np.array([_average(-0.5 * np.log1p(-t * spread / length).sum(-1)) for t in tilts])
    return _chernoff(tilts, averages, constant - upper)


@frozen(kw_only=True, eq=False)
class Spread:
    """Gaussian sequences beside q = N(0, scale^2 I), of which only two numbers are known by topic.

    Statement: with certainty, `excess` is what `gaussian_excess` is for any covariances whose traces and largest
    eigenvalues are at most these; and so is `clip_level` what it says.

    Parameters
    ----------
    trace, largest : float64 (K,), of topics of equal weight; bounds that hold for every topic may stand for them.
    count : n, real numbers in a sequence: T times the channels.
    scale : standard deviation of q.
    length : T.
    weight : a.

    Proof: for t > 0 the moment is exp(sum f(e_i)) with f(e) = -ln(1 - t e)/2 convex and increasing. Let S and L be the
    two bounds, S <= n L without loss. f increases, so the e_i may be raised until they sum to S, each still at most L.
    The partial sums of what is then sorted downwards are at most min(k L, S), which are those of the extreme point: as
    many eigenvalues at L as S allows, one between, the others 0. It majorises all such e, so by Karamata's inequality
    its sum of f is the largest. Source: derived here; majorisation is the textbook one (Marshall and Olkin).

    """

    trace: Array
    largest: Array
    count: int
    scale: float
    length: int
    weight: float

    def extremes(self) -> tuple[Array, Array]:
        """Return how many eigenvalues are at the largest, and the one between; float64 (K,)."""
        total = np.minimum(self.trace, self.count * self.largest)
        whole = np.floor(total / self.largest)
        return whole, np.maximum(total - whole * self.largest, 0.0)

    def excess(self, upper: float) -> float:
        """Return a bound on E (-ln(a q(X))/T - B)_+, nats per token; `upper` is B."""
        tilts, averages = self._moments()
        return _chernoff(tilts, averages, self._constant - upper)

    def clip_level(self, rate: float) -> float:
        """Return the B that minimises rate B + excess(B), nats per token; 0 < rate < 1.

        At a rate of ln(1/delta) / units, which is what B costs the betting bound at most, it is the best B, known
        before any loss is. For a tilt t the minimum over B has a closed form: with a(t) the log moment and c the
        constant, excess = rate / t at B = c + (a(t) - ln(rate) - 1) / t, which leaves t = argmin (a(t) - ln(rate)) / t.
        """
        tilts, averages = self._moments()
        best = int(np.argmin((averages - math.log(rate)) / tilts))
        return float(self._constant + (averages[best] - math.log(rate) - 1) / tilts[best])

    @property
    def _constant(self) -> float:
        """Return -ln(a q(0)) / T."""
        return (math.log(1 / self.weight) + self.count * math.log(2 * math.pi * self.scale**2) / 2) / self.length

    def _moments(self) -> tuple[Array, Array]:
        """Return tilts, and bounds on ln E exp(t |X|^2 / (2 scale^2 T)) there."""
        unit = self.scale**2 * self.length
        whole, between = self.extremes()
        tilts = unit / self.largest.max() * _GRID
        by_topic = (whole * np.log1p(-t * self.largest / unit) + np.log1p(-t * between / unit) for t in tilts)
        return tilts, np.array([_average(-0.5 * logs) for logs in by_topic])


def _average(logs: Array) -> float:
    """Return the logarithm of the mean of exp."""
    return float(np.logaddexp.reduce(logs, axis=None) - math.log(logs.size))


def _chernoff(tilts: Array, averages: Array, away: float) -> float:
    """Return the smallest of exp(t away - 1) / t times the moments."""
    return float(np.exp(np.min(tilts * away - 1 - np.log(tilts) + averages)))


def log_density(squares: ArrayLike, count: int, scale: float) -> Array:
    """Return ln q(x) of q = N(0, scale^2 I) in `count` dimensions, from |x|^2."""
    return -0.5 * (count * math.log(2 * math.pi * scale**2) + np.asarray(squares, np.float64) / scale**2)


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
