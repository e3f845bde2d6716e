"""The path bound: noisy gradient descent pays for the data it saw by the exact likelihood ratio of its path.

An update is theta' = a + r + S xi: a depends on the subset J, on the past and on public randomness; r is the part of
the step that the other data cause; S is the noise's scale, known from J. The prior makes the same updates without r.
With rho = S^-1 r,

    ln dQ/dP (path) = sum over updates of |rho|^2 / 2 + <rho, xi>

exactly, for any loss and step size (the discrete Girsanov formula; its mean is the KL divergence that Negrea et al.
2019 bound, and that Luo, Luo and Li 2022 sum up for a subset prior). The final weights are a function of the path, so
they pay max(0, ln dQ/dP). The terms come from the training's history: `path_kl` and `path_noise`.
"""

import numpy as np
from numpy.typing import ArrayLike

from iclkit_bounds import betting
from iclkit_bounds.units import Array


def path_terms(rho: ArrayLike, noise: ArrayLike) -> tuple[Array, Array]:
    """Return |rho|^2 / 2 and <rho, xi> of updates, float64 (...), nats, from vectors (..., d)."""
    rho, noise = np.asarray(rho, np.float64), np.asarray(noise, np.float64)
    return (rho**2).sum(-1) / 2, (rho * noise).sum(-1)


def path_cost(path_kl: ArrayLike, path_noise: ArrayLike) -> Array:
    """Return max(0, path_kl + path_noise), nats: what a path of updates costs; ValueError where a sum is undefined."""
    ratio = np.asarray(path_kl, np.float64) + np.asarray(path_noise, np.float64)
    if not np.isfinite(ratio).all():
        raise ValueError("the sums over the path must be finite: was the training recorded by the langevin trainer?")
    return np.maximum(ratio, 0.0)


def upper_limit(values: ArrayLike, upper: float, delta: float, path_kl: ArrayLike, path_noise: ArrayLike) -> Array:
    """Return the betting bound at the cost of the path, float64 (...), nats per token.

    Statement: with probability at least 1 - delta over units and noise, the weights at the end of the path have at
    most this mean loss. Proof: for weights from the prior's path, E W <= 1 over the units outside J; changing measure
    to the path's law, E [W dP/dQ] <= 1; Markov. Derived here.

    Parameters
    ----------
    values : losses (..., n) of the path's last weights on the units outside J, all of which training may have seen.
    upper : B.
    delta : probability of failure; each further snapshot of one path that is certified needs a share of its own.
    path_kl, path_noise : the two sums over all updates up to the snapshot, (...).

    """
    return betting.upper_limit(values, upper, delta, path_cost(path_kl, path_noise))
