"""Means over the positions of a sequence that are scored."""

import numpy as np
import torch
from torch import Tensor

from iclkit.api import MeasuredCell


def mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """Return each sequence's mean over its scored positions, float64 (B, ...); NaN where it has none.

    `values` is (B, T, ...), `mask` (B, T). Values that are NaN (undefined) are left out.
    """
    valid = mask.view(*mask.shape, *[1] * (values.ndim - 2)) & ~values.isnan()
    return torch.where(valid, values, 0.0).sum(1) / valid.sum(1)  # 0 / 0 is NaN


def sum_over(values: Tensor, mask: Tensor) -> Tensor:
    """Return each sequence's sum over its scored positions, float64 (B,), undefined values left out; NaN of none."""
    valid = mask & ~values.isnan()
    return torch.where(valid.any(1), torch.where(valid, values, 0.0).sum(1), torch.nan)


def since(mask: Tensor, first: int) -> Tensor:
    """Return which positions are scored from `first` on, counted from 1, bool (B, T)."""
    return mask & (torch.arange(1, mask.shape[1] + 1, device=mask.device) >= first)


def tenth(mask: Tensor, *, late: bool) -> Tensor:
    """Return the first or the last tenth of each sequence's scored positions, at least one, bool (B, T)."""
    rank, count = mask.cumsum(1), mask.sum(1, keepdim=True)
    some = (count // 10).clamp(min=1)
    return mask & ((rank > count - some) if late else (rank <= some))


def first_predicted(cell: MeasuredCell) -> int:
    """Return the first position that the models predict: 2 without a begin token, else 1."""
    return 1 if getattr(cell.models[cell.steps[0]], "bos", True) else 2


def scored_positions(cell: MeasuredCell, split: str) -> np.ndarray:
    """Return which positions are scored in any sequence of a split, bool (T,)."""
    scored = np.zeros(cell.length, dtype=bool)
    for batch in cell.batches(split):
        scored |= batch.mask.any(0).cpu().numpy()
        if scored.all():
            break
    return scored
