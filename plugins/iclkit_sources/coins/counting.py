"""The exact floor h_l of exchangeable coins, by summing over how often token 1 was seen.

After n = l - 1 tokens of which k are 1, all that matters is k: h_l = sum_k Pr(k) H_b(Pr(1 | k)), at the cost of one
entropy per (n, k) and coin (arXiv 2505.18373, 1.5).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from iclkit.api import Exact

Joint = Callable[[Tensor, Tensor], Tensor]

_CELLS = 400_000_000
"""How many (n, k, coin) are summed over at most; positions beyond are NaN."""


def listed_floor(bias: Tensor, weights: Tensor, length: int) -> Exact:
    """Return h_l of a mixture of coins, nats; bias is Pr(1), both float64 (K,), weights sum to 1."""
    one, zero = bias.log(), torch.log1p(-bias)
    log_weights = weights.log()

    def joint(heads: Tensor, tails: Tensor) -> Tensor:
        """Return ln Pr(these tokens in one order), float64 (n,)."""
        terms = _times(heads[:, None], one) + _times(tails[:, None], zero)
        return torch.logsumexp(terms + log_weights, dim=1)

    return _sum_over_counts(joint, length, len(bias))


def beta_floor(alpha: float, beta: float, length: int) -> Exact:
    """Return h_l of coins with a Beta prior, nats: the Beta-binomial closed form."""

    def joint(heads: Tensor, tails: Tensor) -> Tensor:
        return _log_beta(heads + alpha, tails + beta) - _log_beta(
            torch.tensor(alpha, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64)
        )

    return _sum_over_counts(joint, length, 1)


def mean_coin_entropy(bias: Tensor, weights: Tensor, length: int) -> Exact:
    """Return the weighted mean entropy of coins, nats, the same at every position."""
    return constant(float((weights * binary_entropy(bias)).sum()), length)


def beta_coin_entropy(alpha: float, beta: float, length: int) -> Exact:
    """Return E[H_b(theta)] under Beta(alpha, beta), nats, the same at every position.

    E[H_b] = psi(a+b+1) - a/(a+b) psi(a+1) - b/(a+b) psi(b+1).
    """
    a, b = torch.tensor(alpha, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64)
    mean = a / (a + b)
    value = torch.digamma(a + b + 1) - mean * torch.digamma(a + 1) - (1 - mean) * torch.digamma(b + 1)
    return constant(float(value), length)


def constant(value: float, length: int) -> Exact:
    """Return one value at every position, as exact as float64."""
    return Exact(values=np.full(length, value), method="closed-form", error=np.full(length, 1e-13))


def binary_entropy(p: Tensor) -> Tensor:
    """Return H_b(p), nats."""
    return torch.special.entr(p) + torch.special.entr(1 - p)


def _sum_over_counts(joint: Joint, length: int, coins: int) -> Exact:
    values, error = np.full(length, np.nan), np.full(length, np.nan)
    after, spent = joint(torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)), 0
    for seen in range(length):
        spent += (seen + 2) * coins
        if spent > _CELLS:
            break
        heads = torch.arange(seen + 2, dtype=torch.float64)
        before, after = after, joint(heads, seen + 1 - heads)
        probability = (before + _log_choose(seen, heads[:-1])).exp()
        zero, one = (after[:-1] - before).exp(), (after[1:] - before).exp()
        entropy = torch.special.entr(one) + torch.special.entr(zero)
        values[seen] = float(torch.where(probability > 0, probability * entropy, 0.0).sum())
        error[seen] = 1e-14 * (seen + 10)  # rounding of the logarithms
    return Exact(values=values, method="closed-form", error=error)


def _log_choose(total: int, part: Tensor) -> Tensor:
    return math.lgamma(total + 1) - torch.lgamma(part + 1) - torch.lgamma(total - part + 1)


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def _times(count: Tensor, log_prob: Tensor) -> Tensor:
    """Return count * log_prob with 0 * -inf = 0."""
    return torch.where(count == 0, 0.0, count * log_prob)
