"""How far the model is from the exact references and from naive predictors."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from iclkit.api import Categorical, MeasuredCell, Predictor, ScoredBatch
from iclkit_metrics.divergence import hellinger
from iclkit_metrics.expected_loss import divergence
from iclkit_metrics.named_predictors import naive_of
from iclkit_metrics.scored_positions import mean_over
from iclkit_metrics.sequences import split_of

_TIE = 1e-9  # squared Hellinger; equal predictors, such as a mixture and a retrieval, differ by rounding


class Divergence:
    """KL divergence from each reference to the model, and the model's distance to every named predictor.

    kl : mean over sampled prefixes of D_KL(reference, model), nats. Against the oracle it is the loss of
        arXiv 2502.17024 (section 3) by position: stage (i) on train, L(theta, W_pre) on sequences, L(theta) on topics.
        Without closed forms it is the paired log-ratio of realised tokens where the reference is their law, else NaN.
    distance : mean over prefixes and positions of the squared Hellinger distance 1 - sum_x sqrt(p(x) q(x)) between the
        model and each exact reference and naive predictor. It is symmetric, at most 1, and, unlike either KL
        divergence, finite where one of the two rules a token out, as exact predictors do and a softmax never does. For
        close distributions it is a quarter of the KL divergence. Undefined predictions are left out.
    nearest : the predictor of the least distance, the first of equal ones; references come before naive predictors.
    """

    def __init__(self, config: Any):
        self._largest = config.largest_vocabulary
        self._naive: dict[str, Predictor] = {}
        self._held: tuple[Any, Callable[..., Tensor]] | None = None
        self.coords: dict[str, list[str]] = {}

    def begin(self, cell: MeasuredCell) -> None:
        """Make the naive predictors; their marginals are the source's own, or estimated from evaluation data."""
        space = cell.facts.space
        if isinstance(space, Categorical) and space.size <= self._largest:
            self._naive = naive_of(cell, split_of(cell, None))
        references = dict.fromkeys(name for split in cell.splits for name in cell.references[split])
        self.coords = {"predictor": [*references, *self._naive]}

    def score(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return kl, float64 (B, R, T), and distance, float64 (B, P)."""
        scores = {}
        if batch.references:
            scores["kl"] = torch.stack([divergence(batch, name) for name in batch.references], dim=1)
        own = batch.model.distribution(batch)
        if own is not None and self.coords["predictor"]:
            scores["distance"] = mean_over(self._distances(batch)(own), batch.mask)
        return scores

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Name the nearest predictor."""
        if "distance" not in cell.data:
            return xr.Dataset()
        distance = cell.data["distance"].transpose("step", "split", "predictor").fillna(np.inf)
        close = distance <= distance.min("predictor") + _TIE
        names = np.array(self.coords["predictor"], dtype=object)[close.argmax("predictor").values]
        known = np.isfinite(distance.min("predictor").values)
        coords = {"step": list(cell.steps), "split": distance["split"].values}
        return xr.Dataset({"nearest": (("step", "split"), np.where(known, names, ""))}, coords=coords)

    def _distances(self, batch: ScoredBatch) -> Callable[..., Tensor]:
        """Return what gives a model's distances on a batch; all snapshots share it."""
        if self._held is None or self._held[0] is not batch.tokens:
            every = [*batch.references.values(), *self._naive.values()]
            self._held = batch.tokens, hellinger.from_all([each.distribution(batch) for each in every])
        return self._held[1]
