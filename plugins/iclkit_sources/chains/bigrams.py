"""Which tokens follow which in Markov chains of any order, on average over positions."""

import torch
from torch import Tensor


def chain_bigrams(rows: Tensor, order: int, length: int) -> tuple[Tensor, Tensor]:
    """Return the law of the first token (K, V), and of neighbours (K, V, V), averaged over l = 2 .. length.

    `rows`, float64 (K, C, V), are Pr(v | context), a context c having the last token c mod V; the first `order`
    tokens are uniform, as are all pairs of them.
    """
    count, contexts, size = rows.shape
    if order == 0:
        return rows[:, 0], rows.transpose(1, 2) * rows
    law = torch.full_like(rows[..., 0], 1 / contexts)  # of the context before token m + 1
    total, uniform = torch.zeros_like(law), max(0, min(order, length) - 1)
    later = max(length - order, 0 if uniform else 1)
    for _ in range(later):
        total += law
        law = (law[..., None] * rows).view(count, size, contexts).sum(1)  # c, then v, leads to (c V + v) mod C
    joint = (total[..., None] * rows).view(count, contexts // size, size, size).sum(1)
    return torch.full_like(rows[:, 0], 1 / size), (joint + uniform / size**2) / (later + uniform)
