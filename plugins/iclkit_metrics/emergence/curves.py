"""The curves of a training's record, and the losses of named predictors on the same positions."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from iclkit.api import MeasuredCell, Predictor
from iclkit_metrics.emergence.change_points import binned
from iclkit_metrics.expected_loss import expected_loss
from iclkit_metrics.named_predictors import predictors_on
from iclkit_metrics.sequences import some_of

Array = NDArray[np.float64]


def groups(length: int) -> dict[str, slice]:
    """Return positions by name: all, 1, 2-3, 4-7, ... up to the length."""
    found = {"all": slice(0, length)}
    first = 1
    while first <= length and length > 1:
        last = min(2 * first - 1, length)
        found[str(first) if first == last else f"{first}-{last}"] = slice(first - 1, last)
        first *= 2
    return found


def mean_curve(values: Array) -> Array:
    """Return the mean over positions that are scored, (R,) from (R, T); NaN where none is."""
    known = ~np.isnan(values)
    count = known.sum(1)
    total = np.where(known, values, 0.0).sum(1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def thinned(steps: Array, curve: Array, count: int) -> tuple[Array, Array]:
    """Return steps and curve (n,), averaged in bins of equal width in ln(1 + step) where they are more than `count`."""
    known = np.isfinite(curve)
    steps, curve = steps[known], curve[known]
    if len(steps) <= count:
        return steps, curve
    axis, curve, _ = binned(np.log1p(steps), curve, np.ones_like(curve), count)
    return np.expm1(axis), curve


def predictor_losses(
    cell: MeasuredCell, split: str, naive: Mapping[str, Predictor], wanted: Sequence[str] | None, sequences: int
) -> dict[str, Array]:
    """Return the mean loss of named predictors by position, (T,); NaN where nothing is scored, inf where ruled out."""
    total: dict[str, torch.Tensor] = {}
    count = torch.zeros(cell.length, dtype=torch.float64)
    for batch in some_of(cell, split, sequences):
        count += batch.mask.sum(0)
        for name, predictor in predictors_on(batch, naive, wanted).items():
            loss = torch.where(batch.mask, expected_loss(batch, predictor), 0.0)
            loss = loss.where(~loss.isnan(), torch.inf)  # after a token that it rules out a predictor is undefined
            total[name] = total.get(name, torch.zeros_like(count)) + loss.sum(0)
    return {name: (loss / count).numpy() for name, loss in total.items()}
