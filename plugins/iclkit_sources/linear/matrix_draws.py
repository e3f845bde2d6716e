"""Random matrices by address, and products whose bits depend on no neighbour.

Sums run in a fixed order, one elementwise operation after the other, so that a topic's matrix and a sequence's
states are the same in any batch; what needs LAPACK is done one matrix at a time for the same reason.
"""

import torch
from torch import Tensor


def haar(normals: Tensor) -> Tensor:
    """Return uniformly random orthogonal matrices (K, d, d) made of standard normal ones.

    Gram-Schmidt, twice for precision: the Q of the QR decomposition whose R has a positive diagonal, which is what
    makes it uniform (Mezzadri, 2007).
    """
    made: list[Tensor] = []
    for column in normals.unbind(-1):
        for _ in range(2):
            for other in made:
                column = column - other * ordered_sum(column * other)
        made.append(column / ordered_sum(column * column).sqrt())
    return torch.stack(made, dim=-1)


def scaled_to(radius: float, matrices: Tensor) -> Tensor:
    """Return matrices (K, d, d) scaled to a spectral radius, the largest modulus of an eigenvalue."""
    made = torch.empty_like(matrices)
    for index, matrix in enumerate(matrices):
        largest = torch.linalg.eigvals(matrix.clone().cpu()).abs().max().to(matrix.device)
        made[index] = matrix * (radius / largest)
    return made


def stationary_factor(transition: Tensor, noise: float) -> Tensor:
    """Return the Cholesky factor of the stationary covariance S = W^T S W + noise^2 I of each W (K, d, d).

    By doubling: S <- S + A^T S A, A <- A A, starting with S = noise^2 I and A = W of spectral radius below 1.
    """
    made = torch.empty_like(transition)
    for index, matrix in enumerate(transition):
        made[index] = torch.linalg.cholesky(stationary_covariance(matrix.clone(), noise))
    return made


def stationary_covariance(transition: Tensor, noise: float) -> Tensor:
    """Return the stationary covariance of one or several W, (..., d, d)."""
    power, total = transition, torch.eye(transition.shape[-1], dtype=transition.dtype).to(transition) * noise**2
    total = total.expand_as(transition)
    for _ in range(64):
        more = power.mT @ total @ power
        total, power = total + more, power @ power
        if float(more.abs().max()) <= 1e-17 * float(total.abs().max()):
            break
    return (total + total.mT) / 2


def ordered_sum(values: Tensor) -> Tensor:
    """Return the sum over the last dim, kept as 1, in order."""
    total = values[..., :1]
    for index in range(1, values.shape[-1]):
        total = total + values[..., index : index + 1]
    return total


def row_times(rows: Tensor, matrices: Tensor) -> Tensor:
    """Return rows (..., d) times matrices (..., d, e), summed in order: (..., e)."""
    total = rows[..., :1] * matrices[..., 0, :]
    for index in range(1, rows.shape[-1]):
        total = total + rows[..., index : index + 1] * matrices[..., index, :]
    return total
