"""Means over the positions of a sequence that are scored."""

import torch
from torch import Tensor


def mean_over(values: Tensor, mask: Tensor, first: int = 1, last: int | None = None) -> Tensor:
    """Return each sequence's mean over its scored positions first .. last, float64 (B, ...); NaN where it has none.

    `values` is (B, T, ...), `mask` (B, T), positions counted from 1. Values that are NaN (undefined) are left out.
    """
    window = slice(first - 1, last)
    values, mask = values[:, window], mask[:, window].view(*mask[:, window].shape, *[1] * (values.ndim - 2))
    valid = mask & ~values.isnan()
    return torch.where(valid, values, 0.0).sum(1) / valid.sum(1)  # 0 / 0 is NaN


def sum_over(values: Tensor, mask: Tensor) -> Tensor:
    """Return each sequence's sum over its scored positions, float64 (B,), undefined values left out."""
    return torch.where(mask & ~values.isnan(), values, 0.0).sum(1)
