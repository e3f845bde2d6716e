"""Means over the positions of a sequence that are scored."""

import numpy as np
import torch
from torch import Tensor

from iclkit.api import MeasuredCell


def mean_over(values: Tensor, mask: Tensor, first: int = 1, last: int | None = None) -> Tensor:
    """Return each sequence's mean over its scored positions first .. last, float64 (B, ...); NaN where it has none.

    `values` is (B, T, ...), `mask` (B, T), positions counted from 1. Values that are NaN (undefined) are left out.
    """
    window = slice(first - 1, last)
    values, mask = values[:, window], mask[:, window].view(*mask[:, window].shape, *[1] * (values.ndim - 2))
    valid = mask & ~values.isnan()
    return torch.where(valid, values, 0.0).sum(1) / valid.sum(1)  # 0 / 0 is NaN


def sum_over(values: Tensor, mask: Tensor) -> Tensor:
    """Return each sequence's sum over its scored positions, float64 (B,), undefined values left out; NaN of none."""
    valid = mask & ~values.isnan()
    return torch.where(valid.any(1), torch.where(valid, values, 0.0).sum(1), torch.nan)


def scored_positions(cell: MeasuredCell, split: str) -> np.ndarray:
    """Return which positions are scored in any sequence of a split, bool (T,)."""
    scored = np.zeros(cell.length, dtype=bool)
    for batch in cell.batches(split):
        scored |= batch.mask.any(0).cpu().numpy()
        if scored.all():
            break
    return scored
