"""The Kalman filter of linear dynamical systems seen through y_t = x_t C, without noise of the observation.

Row vectors: x_{t+1} = x_t W + noise * N(0, I). With m and P the mean and covariance of x_t given y_1 .. y_{t-1}, the
token has mean m C and covariance S = C^T P C, and with the gain G = S^{-1} C^T P

    m <- (m + (y - m C) G) W,    P <- W^T (I - C G)^T P (I - C G) W + noise^2 I

(Joseph's form, which keeps P symmetric and positive). Gains and covariances depend on the system alone.
"""

from collections.abc import Iterator
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from iclkit_sources.linear.matrix_draws import stationary_covariance

_CELLS = 1 << 22  # numbers in the gains of one block of systems
_STEPS = 4096  # of the two recursions that bracket an entropy rate, at most
_GAP = 1e-13


@frozen(eq=False)
class Filter:
    """What a filter needs at every position.

    Parameters
    ----------
    gains : float64 tensor (T, K, o, d), G.
    factors : float64 tensor (T, K, o, o), lower triangular factors of S.

    """

    gains: Tensor
    factors: Tensor

    def __getitem__(self, index: Tensor) -> "Filter":
        return Filter(self.gains[:, index], self.factors[:, index])

    @property
    def log_det(self) -> Tensor:
        """Half of ln det S, (T, K)."""
        return self.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def blocks(systems: Any, length: int) -> Iterator[slice]:
    """Cut systems into blocks whose gains take bounded memory."""
    d, o = systems.readout.shape[1:]
    rows = max(1, _CELLS // (max(length, d) * d * max(o, 1)))
    for begin in range(0, len(systems), rows):
        yield slice(begin, begin + rows)


def prepare(systems: Any, noise: float, length: int) -> Filter:
    """Return the filters of systems for positions 1 .. length."""
    covariance = _first(systems, noise)
    d, o = systems.readout.shape[1:]
    gains = covariance.new_empty(length, len(systems), o, d)
    factors = covariance.new_empty(length, len(systems), o, o)
    for step in range(length):
        factors[step], gains[step], covariance = _advance(systems, noise, covariance)
    return Filter(gains, factors)


def follow(systems: Any, known: Filter, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Filter n sequences with each of K systems, or each system's own n.

    Parameters
    ----------
    systems, known : K systems and their filters.
    tokens : float64 tensor (1 or K, n, T, o).

    Returns
    -------
    The tokens' means, float64 (K, n, T, o), and log-densities, (K, n, T), nats.

    """
    count, (n, length, o) = len(systems), tokens.shape[1:]
    means, log_probs = tokens.new_empty(count, n, length, o), tokens.new_empty(count, n, length)
    state = tokens.new_zeros(count, n, systems.transition.shape[1])
    for step in range(length):
        means[:, :, step] = state @ systems.readout
        away = tokens[:, :, step] - means[:, :, step]  # (K, n, o)
        white = torch.linalg.solve_triangular(known.factors[step], away.mT, upper=False)  # (K, o, n)
        log_probs[:, :, step] = -0.5 * white.square().sum(1)
        state = (state + away @ known.gains[step]) @ systems.transition
    constant = o * 0.5 * torch.tensor(2 * torch.pi, dtype=torch.float64).log()
    return means, log_probs - known.log_det.T[:, None] - constant


def rates(systems: Any, noise: float) -> tuple[Tensor, Tensor]:
    """Bracket the limit of half ln det S of stable systems: two float64 tensors (K,), lower and upper.

    The recursion is monotone in P: from P = noise^2 I, as after an observed state, it rises to its limit; from the
    stationary covariance, as before any observation, it falls to it.
    """
    low, high = _innovation(systems, noise), stationary_covariance(systems.transition, noise)
    for _ in range(_STEPS):
        below, _, low = _advance(systems, noise, low)
        above, _, high = _advance(systems, noise, high)
        bounds = [factor.diagonal(dim1=1, dim2=2).log().sum(1) for factor in (below, above)]
        if float((bounds[1] - bounds[0]).max()) < _GAP:
            break
    return bounds[0], torch.maximum(*bounds)


def _advance(systems: Any, noise: float, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (factor of S, gain, next P) of systems with these P (K, d, d)."""
    cross = covariance @ systems.readout  # (K, d, o)
    shown = systems.readout.mT @ cross
    factor = torch.linalg.cholesky((shown + shown.mT) / 2)
    gain = torch.cholesky_solve(cross.mT, factor)  # (K, o, d)
    onward = systems.transition - systems.readout @ (gain @ systems.transition)  # (I - C G) W
    return factor, gain, onward.mT @ covariance @ onward + _innovation(systems, noise)


def _innovation(systems: Any, noise: float) -> Tensor:
    transition = systems.transition
    return (noise**2 * torch.eye(transition.shape[-1], dtype=transition.dtype).to(transition)).expand_as(transition)


def _first(systems: Any, noise: float) -> Tensor:
    """Return the covariance of x_1, (K, d, d)."""
    return _innovation(systems, noise) if systems.first is None else systems.first @ systems.first.mT
