"""Whether the model is as sure as it should be."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional

from iclkit.api import CategoricalDistribution, MeasuredCell, ScoredBatch, entropy
from iclkit_metrics.calibration.spec import BINS
from iclkit_metrics.dims import STEP_SPLIT
from iclkit_metrics.expected_loss import truth_of
from iclkit_metrics.with_error import with_error


class Calibration:
    """Reliability of predicted probabilities, and entropy against the exact one.

    Confidence is the probability the model gives its likeliest token (or, as the config says, each token); accuracy is
    how often that token comes, in expectation over the next token where the truth is known (all splits but train),
    else realised. Over M bins B_m and n positions (Guo et al. 2017, arXiv 1706.04599, equations 2 and 3; with all
    tokens it is at most 2):

    calibration_error = sum_m |B_m| / n * |accuracy(B_m) - confidence(B_m)|. Its standard error neglects what bins have
    to do with each other. Noise never cancels in it: a calibrated model shows about `calibration_noise`, sqrt(2 / pi)
    times the sum of the gaps' standard errors.
    predictive_entropy, entropy_excess : -E_q ln q of the model, and that less the optimum's at the same prefixes,
        nats: negative where the model is too sure. For real tokens there is nothing else.
    """

    def __init__(self, config: Any):
        self._all = config.tokens == "all"
        edges = torch.tensor(config.edges or np.linspace(0, 1, config.bins + 1), dtype=torch.float64)
        self._inner = edges[1:-1].contiguous()
        self._bins = len(edges) - 1
        self.coords = {"bin": ((edges[1:] + edges[:-1]) / 2).tolist()}  # their middles

    def score(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return entropies, float64 (B, T), and what each bin holds, float64 (B, M)."""
        own = batch.model.distribution(batch)
        if own is None:
            return {}
        scores = {"predictive_entropy": entropy(own)}
        best = None if batch.optimum is None else batch.references[batch.optimum].distribution(batch)
        if best is not None:
            scores["entropy_excess"] = scores["predictive_entropy"] - entropy(best)
        return scores | (self._reliability(batch, own) if isinstance(own, CategoricalDistribution) else {})

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Make confidence and accuracy of each bin from their sums, and the calibration error."""
        data = cell.data
        if "calibration_share" not in data:
            return xr.Dataset()
        gap, error = data["calibration_gap"], data["calibration_gap_se"]
        share = data["calibration_share"].where(data["calibration_share"] > 0)
        confidence = data["calibration_mass"] / share
        accuracy, total = confidence + gap / share, abs(gap).sum("bin", skipna=False)
        total_error = (error**2).sum("bin", skipna=False) ** 0.5
        noise = np.sqrt(2 / np.pi) * error.sum("bin", skipna=False)
        made = xr.Dataset({"calibration_confidence": confidence, "calibration_noise": noise})
        return made.assign(
            with_error("calibration_accuracy", BINS, accuracy.values, (error / share).values, units="1")
            | with_error("calibration_error", STEP_SPLIT, total.values, total_error.values, units="1")
        )

    def _reliability(self, batch: ScoredBatch, own: CategoricalDistribution) -> dict[str, Tensor]:
        truth = truth_of(batch)
        law = functional.one_hot(batch.tokens, own.probs.shape[-1]).double() if truth is None else truth.probs
        confidence, hit = own.probs, law  # (B, T, V)
        if not self._all:
            confidence, guess = confidence.max(-1, keepdim=True)
            hit = law.gather(-1, guess)
        valid = batch.mask[..., None] & ~(confidence.isnan() | hit.isnan())
        count = valid.any(-1).sum(1, keepdim=True)
        place = torch.bucketize(confidence, self._inner, right=True).flatten(1)

        def binned(values: Tensor) -> Tensor:
            empty = torch.zeros(len(batch), self._bins, dtype=torch.float64)
            sums = empty.scatter_add_(1, place, torch.where(valid, values, 0.0).flatten(1))
            return sums / count  # NaN where nothing is scored

        return {
            "calibration_share": binned(torch.ones_like(confidence)),
            "calibration_mass": binned(confidence),
            "calibration_gap": binned(hit - confidence),
        }
