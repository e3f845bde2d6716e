"""The squared error of the predicted mean of real tokens, and how far it is from what is possible."""

from collections.abc import Mapping
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from iclkit.api import GaussianDistribution, MeasuredCell, NotApplicable, ScoredBatch, conditional_mean


class SquaredError:
    """Squared error of the model and of the references, summed over dimensions, by split and position.

    Where the oracle's Gaussian is known and tokens are fresh (all splits but train), errors average the next token
    under it: |m_oracle - m|^2 plus its variance, instead of |x - m|^2. The excess over a reference that is the true
    law given the prefix is |m_reference - m|^2, the same in expectation; on train it is the paired difference. The
    distance to a reference is |m_reference - m|^2 whether or not it is the law (Raventos et al., arXiv 2306.15063:
    on fresh tasks, ridge and the discrete MMSE predictor are both looked at).
    """

    def __init__(self, config: Any):
        del config
        self._real = False

    def score(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return squared error and excess of a snapshot's model, float64 (B, T); nothing for categorical tokens."""
        mean = self._mean(batch, batch.model)
        if mean is None:
            return {}
        scores = {"squared_error": _error(batch, mean)}
        best = None if batch.optimum is None else self._mean(batch, batch.references[batch.optimum])
        if best is not None:
            above = _distance(mean, best) if batch.lawful else _error(batch, mean) - _error(batch, best)
            scores["squared_error_excess"] = above
        means = [self._mean(batch, reference) for reference in batch.references.values()]
        if any(mean is not None for mean in means):
            none = torch.full(batch.mask.shape, torch.nan, dtype=torch.float64)
            apart = [none if one is None else _distance(mean, one) for one in means]
            scores["squared_error_distance"] = torch.stack(apart, dim=1)
        return scores

    def score_references(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return the references' squared errors, float64 (B, R, T), NaN for one that has no mean."""
        means = [self._mean(batch, reference) for reference in batch.references.values()]
        if all(mean is None for mean in means):
            return {}
        none = torch.full(batch.mask.shape, torch.nan, dtype=torch.float64)
        floors = [none if mean is None else _error(batch, mean) for mean in means]
        return {"squared_error_floor": torch.stack(floors, dim=1)}

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Add nothing; raises NotApplicable where tokens are categorical."""
        if not self._real:
            raise NotApplicable("squared error is for real tokens; those of this source are categorical")
        return xr.Dataset()

    def _mean(self, batch: ScoredBatch, predictor: Any) -> Tensor | None:
        """Return a predictor's conditional mean, float64 (B, T, D)."""
        if not batch.tokens.is_floating_point():
            return None
        self._real = True
        return conditional_mean(predictor, batch)


def _error(batch: ScoredBatch, mean: Tensor) -> Tensor:
    """Return the squared error of a mean, averaged over the next token where its law is known, else realised."""
    oracle = batch.references.get("oracle") if batch.lawful else None
    truth = None if oracle is None else oracle.distribution(batch)
    if isinstance(truth, GaussianDistribution):
        return _distance(mean, truth.mean) + truth.variance
    return _distance(mean, batch.tokens[..., : mean.shape[-1]])


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """Return |one - other|^2, (B, T)."""
    return (one - other).square().sum(-1)
