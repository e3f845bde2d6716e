"""How far sequences of linear dynamical systems spread: trace and largest eigenvalue of their joint covariance."""

import torch
from torch import Tensor


def covariance_spread(
    transition: Tensor, readout: Tensor | None, first: Tensor | None, noise: float, length: int
) -> tuple[Tensor, Tensor]:
    """Return the trace of Cov(y_1 .. y_T), exactly, and an upper bound of its largest eigenvalue; float64 (K,).

    Parameters
    ----------
    transition, readout, first : W (K, d, d), C (K, d, o) or None for I, and the factor F (K, d, d) of the covariance of
        x_1 or None for noise^2 I.
    noise : standard deviation of the noise of each state variable.
    length : T.

    The noise of all steps enters the states through a block Toeplitz matrix, whose norm is at most
    noise (|I| + |W| + |W^2| + ..) in spectral norms; x_1, where it has a law of its own, through a column of blocks
    F^T W^t of squared norm at most sum |F^T W^t|^2. Independent parts add up, and C multiplies by at most |C|^2. Traces
    are those of P <- W^T P W + noise^2 I.

    """
    count, dimension = transition.shape[:2]
    eye = torch.eye(dimension, dtype=torch.float64).expand(count, dimension, dimension)
    covariance = noise**2 * eye if first is None else first @ first.mT
    power, steps = eye, length if first is None else length - 1
    trace, norms, starts = (torch.zeros(count, dtype=torch.float64) for _ in range(3))
    for step in range(length):
        shown = covariance if readout is None else readout.mT @ covariance @ readout
        trace = trace + shown.diagonal(dim1=1, dim2=2).sum(1)
        if step < steps:
            norms = norms + torch.linalg.matrix_norm(power, 2)
        if first is not None:
            starts = starts + torch.linalg.matrix_norm(first.mT @ power, 2) ** 2
        power = power @ transition
        covariance = transition.mT @ covariance @ transition + noise**2 * eye
    seen = 1.0 if readout is None else torch.linalg.matrix_norm(readout, 2) ** 2
    return trace, seen * ((noise * norms) ** 2 + starts)
