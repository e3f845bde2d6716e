"""Draws from Gamma, Beta and Dirichlet laws as functions of the address.

A draw does not depend on how often its neighbours were rejected: every attempt has an address of its own.
"""

import torch
from torch import Tensor

from iclkit.api import Key


def draw_beta(alpha: float, beta: float, key: Key) -> Tensor:
    """Draw from Beta(alpha, beta), one per state of the key, float64 (K,): G_alpha / (G_alpha + G_beta)."""
    first, second = (
        log_gamma_draws(torch.tensor([shape], dtype=torch.float64), key.fold(name)).squeeze(-1)
        for shape, name in ((alpha, "alpha"), (beta, "beta"))
    )
    return torch.sigmoid(first - second)


def draw_log_dirichlet(concentration: Tensor, rows: int, key: Key) -> Tensor:
    """Draw logarithms of `rows` independent Dirichlet rows per state of the key, float64 (K, rows, n).

    `concentration` is a float64 tensor (n,). In logarithms no entry underflows, however small a concentration.
    A row depends on its index alone: more rows begin with the fewer.
    """
    row = torch.arange(rows, dtype=torch.int64, device=key.states.device)
    draws = log_gamma_draws(concentration, Key(key.states[..., None]).fold(row))
    return torch.log_softmax(draws, dim=-1)


def log_gamma_draws(shape: Tensor, key: Key) -> Tensor:
    """Draw logarithms of Gamma(shape, 1), float64 (*states, n), for shapes (n,) (Marsaglia and Tsang, 2000).

    Shapes below 1 are raised by 1 and boosted by a power of a uniform: ln G(s) = ln G(s + 1) + ln(U) / s.
    """
    states, count = key.states.flatten(), len(shape)
    shape = shape.to(states.device)
    small = shape < 1
    d = torch.where(small, shape + 1, shape) - 1 / 3
    drawn = torch.full((len(states), count), torch.nan, dtype=torch.float64, device=states.device)
    waiting, attempt = torch.arange(len(states), device=states.device), 0
    while len(waiting):
        trial, old = Key(states[waiting]).fold(attempt), drawn[waiting]
        x, u = trial.fold("x").normal(count), trial.fold("u").uniform(count)
        v = (1 + x / (9 * d).sqrt()) ** 3
        accepted = (v > 0) & ((1 - u).log() < 0.5 * x**2 + d - d * v + d * v.log())  # NaN where v < 0: refused
        new = torch.where(old.isnan() & accepted, v.log() + d.log(), old)
        drawn[waiting] = new
        waiting, attempt = waiting[new.isnan().any(1)], attempt + 1
    if small.any():
        boost = (1 - Key(states).fold("boost").uniform(count)).log()
        drawn = torch.where(small, drawn + boost / shape, drawn)
    return drawn.reshape(*key.states.shape, count)
