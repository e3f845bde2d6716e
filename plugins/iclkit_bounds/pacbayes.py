"""PAC-Bayes bounds: a Gaussian posterior around a prior that was trained on other data.

The prior P = N(theta_J, s^2 I) comes from the subset J of the data alone, the posterior Q = N(mu, s^2 I) from all of
them; empirical terms and n are those of the units outside J. Every bound holds with probability at least 1 - delta
over those units, for all Q at once, and bounds E_Q of the mean loss m. `loss` is E_Q of the empirical loss, in [0, B],
nats per token; `divergence` is KL(Q, P), nats. All return float64 and never more than B.

The single draw certifies one set of weights drawn from Q, with no average over Q to estimate: prefer it.
"""

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from iclkit_bounds import betting
from iclkit_bounds.concentration import kl_inverse
from iclkit_bounds.units import Array, checked_delta

CATONI_GRID: tuple[float, ...] = tuple(float(v) for v in np.geomspace(0.01, 10, 16))
"""The values of v that `catoni` takes the union over."""

Scale = float | Tensor


def gaussian_kl(mean: Tensor, prior: Tensor, scale: Scale) -> float:
    """Return KL(N(mean, s^2 I), N(prior, s^2 I)) = |mean - prior|^2 / 2 s^2, nats.

    Vectors of equal shape; `scale` is s, a number or a vector of them.
    """
    return float(((mean.double() - prior.double()) / scale).square().sum() / 2)


def log_ratio(draw: Tensor, mean: Tensor, prior: Tensor, scale: Scale) -> float:
    """Return ln dQ/dP at a draw from Q: (|draw - prior|^2 - |draw - mean|^2) / 2 s^2, nats; vectors of equal shape."""
    away, own = (draw.double() - prior.double()) / scale, (draw.double() - mean.double()) / scale
    return float((away.square().sum() - own.square().sum()) / 2)


def interpolated(prior: Tensor, trained: Tensor, share: float) -> Tensor:
    """Return mu = theta_J + share (theta - theta_J), the centre of the posterior, float64; share 0 is the prior's."""
    start = prior.double()
    return start + share * (trained.double() - start)


def draw(mean: Tensor, scale: Scale, normal: Tensor) -> Tensor:
    """Return the draw mean + s z of Q, float64, z standard normal by address (`Key.normal`), of the mean's shape."""
    return mean.double() + scale * normal.double()


def as_vector(weights: dict[str, Tensor]) -> Tensor:
    """Return all tensors of a state as one float64 vector, in the order of their names."""
    return torch.cat([weights[name].detach().double().reshape(-1) for name in sorted(weights)])


def single_draw(values: ArrayLike, upper: float, delta: float, log_density_ratio: ArrayLike) -> Array:
    """Return the betting bound of one draw theta ~ Q at a cost of max(0, ln dQ/dP(theta)), float64 (...), nats.

    Statement: with probability at least 1 - delta over the units *and the draw* the drawn weights' mean loss is at
    most this. P and the law of Q given the data (scale, share) are chosen before the draw; choosing a scale out of M
    after looking costs ln M more. Proof: under the prior E W <= 1; changing measure to Q, E [W dP/dQ] <= 1; Markov.
    Source: derived here, in the line of Catoni (2007) and Rivasplata et al. (2020).

    Parameters
    ----------
    values : losses (..., n) of the drawn weights on the units outside J.
    upper : B.
    delta : probability of failure.
    log_density_ratio : ln dQ/dP at the draw, (...), nats.

    """
    return betting.upper_limit(values, upper, delta, log_density_ratio)


def mcallester(loss: ArrayLike, n: int, upper: float, delta: float, divergence: ArrayLike) -> Array:
    """Return L + B sqrt((KL + ln(2 sqrt(n)/delta)) / 2n) (McAllester 1999 with the constant of Maurer 2004)."""
    return np.minimum(np.asarray(loss) + upper * np.sqrt(_complexity(n, delta, divergence) / 2), upper)


def seeger(loss: ArrayLike, n: int, upper: float, delta: float, divergence: ArrayLike) -> Array:
    """Return the largest m with kl(L/B, m/B) <= (KL + ln(2 sqrt(n)/delta)) / n (Seeger 2002, Maurer 2004).

    Units may have different means: for independent X_i in [0, 1], E exp(n kl(X-, m)) is at most what n equal coins
    give (convexity, and Hoeffding 1956), and that is at most 2 sqrt(n).
    """
    return upper * kl_inverse(np.clip(np.asarray(loss) / upper, 0, 1), _complexity(n, delta, divergence))


def thiemann(loss: ArrayLike, n: int, upper: float, delta: float, divergence: ArrayLike) -> Array:
    """Return min over v in (0, 2) of L/(1-v/2) + B (KL + ln(2 sqrt(n)/delta)) / (n v (1-v/2)).

    Thiemann, Igel, Wintenberger and Seldin (2017), Theorem 3; it holds for all v at once, so the best one, which is
    2 / (sqrt(2 L/(B c) + 1) + 1) with c the complexity over n, is free.
    """
    complexity, scaled = _complexity(n, delta, divergence), np.asarray(loss) / upper
    v = 2 / (np.sqrt(2 * scaled / complexity + 1) + 1)
    return np.minimum(upper * (scaled + complexity / v) / (1 - v / 2), upper)


def catoni(loss: ArrayLike, n: int, upper: float, delta: float, divergence: ArrayLike) -> Array:
    """Return min over the grid of v of B/(1-e^-v) [1 - exp(-v L/B - (KL + ln(G/delta)) / n)] (Catoni 2007, Thm 1.2.6).

    The union over the G values of `CATONI_GRID` is paid for. Units may have different means (AM-GM).
    """
    price = (np.asarray(divergence) + math.log(len(CATONI_GRID) / checked_delta(delta))) / n
    scaled = np.asarray(loss) / upper
    bounds = [-np.expm1(-v * scaled - price) / -math.expm1(-v) for v in CATONI_GRID]
    return np.minimum(upper * np.min(bounds, axis=0), upper)


def posterior_mean(draws: ArrayLike, upper: float, delta: float) -> Array:
    """Return an upper limit of an average over Q from independent draws, float64 (...).

    Statement: with probability at least 1 - delta over the draws, the data given. `draws` (..., M): a statistic of
    each draw, such as its empirical loss, at most `upper`. Betting takes the place of the kl-inverse with ln(2/delta)
    of Langford and Caruana (2001). A Gibbs bound from draws needs this share of delta beside its own.
    """
    return betting.upper_limit(draws, upper, delta)


def gibbs_moments(
    values: ArrayLike, centres: ArrayLike, upper: float, least_centre: float, delta: float, least: float = 0.0
) -> tuple[Array, Array]:
    """Return upper limits of E_Q (1/n) sum X_i and E_Q (1/n^2) sum (X_i - c_i)^2, what `bernstein.from_moments` needs.

    Statement: with probability at least 1 - delta over the M draws both hold, delta / 2 each. `values` (..., M, n) are
    losses in [least, upper] of each draw on each unit, `centres` broadcast with them, at least `least_centre` and at
    most `upper`. With `largest` = 1/n, `from_moments` of these is the centred Bernstein bound for Gibbs averages.
    """
    losses, n = np.asarray(values, np.float64), np.shape(values)[-1]
    squares = ((losses - np.asarray(centres, np.float64)) ** 2).mean(-1)
    farthest = max(upper - least_centre, upper - least) ** 2
    mean = betting.upper_limit(losses.mean(-1), upper, delta / 2)
    return mean, betting.upper_limit(squares, farthest, delta / 2) / n


def _complexity(n: int, delta: float, divergence: ArrayLike) -> Array:
    return (np.asarray(divergence, np.float64) + math.log(2 * math.sqrt(n) / checked_delta(delta))) / n
