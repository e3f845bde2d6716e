"""The in-context loss, and how far it is from what is possible."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from iclkit.api import MeasuredCell, ScoredBatch, cross_entropy, entropy, kl

_NO_KIND = "none: this source has no exact optimum for the split"


class Loss:
    """Loss, floor, optimum, excess, regret and impossible share, nats per token, by split and position.

    Where the oracle has a distribution and tokens are fresh (all splits but train), losses and floors average the
    next token under the true conditional instead of taking the realised one, and the excess over a reference that
    is the true law given the prefix is the mean D_KL(reference, model) at the sampled prefixes: the same
    expectations with far less noise. For real tokens that is so Gaussian to Gaussian. A mixture of Gaussians has no
    closed form: its floor is the oracle's entropy plus the realised log-ratio of oracle to mixture, and the excess
    over it is the paired difference on realised tokens.
    """

    def __init__(self, config: Any):
        del config
        self._kinds: dict[str, str] = {}
        self._scored: dict[str, np.ndarray] = {}  # which positions are scored in any sequence of a split

    def score(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return loss, excess and regret of a snapshot's model, float64 (B, T)."""
        scores = {"loss": _loss(batch, batch.model)}
        if batch.optimum is not None:
            scores["excess"], self._kinds[batch.split] = _above(batch, batch.references[batch.optimum])
        if "oracle" in batch.references:
            scores["regret"], _ = _above(batch, batch.references["oracle"])
        return scores

    def score_references(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return the floors, float64 (B, R, T), NaN where a reference rules a sequence out, and where it does."""
        if not batch.references:
            return {}
        scored = batch.mask.any(0).cpu().numpy()
        self._scored[batch.split] = scored | self._scored.get(batch.split, False)
        floors = torch.stack([_loss(batch, reference) for reference in batch.references.values()], dim=1)
        possible = floors.isfinite()
        return {"floor": floors.where(possible, torch.nan), "impossible": (~possible).double()}

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Add the exact expectations, and say what excess was measured from and how."""
        names = list(dict.fromkeys(name for split in cell.splits for name in cell.references[split]))
        shape = len(names), len(cell.splits), cell.length
        values, errors = np.full(shape, np.nan), np.full(shape, np.nan)
        methods: dict[str, str] = {}
        ask = getattr(cell.source, "optimum", lambda *law: None)
        for place, split in enumerate(cell.splits):
            for law in cell.laws[split]:
                exact = ask(law.asked, law.topics, law.weights, cell.length)
                if exact is not None:
                    scored = self._scored.get(split, True)
                    values[names.index(law.name), place] = np.where(scored, exact.values, np.nan)
                    errors[names.index(law.name), place] = np.where(scored, exact.error, np.nan)
                    methods[law.name] = exact.method
        told = {
            "excess_kind": ("split", [self._kinds.get(split, _NO_KIND) for split in cell.splits]),
            "excess_reference": ("split", [cell.optimum[split] or "" for split in cell.splits]),
        }
        if not names:  # a source without any exact reference, such as real text
            return xr.Dataset(told, coords={"split": list(cell.splits)})
        dims = "reference", "split", "position"
        return xr.Dataset(
            {
                "optimum": (dims, values, {"method": ", ".join(f"{k}: {v}" for k, v in methods.items())}),
                "optimum_error": (dims, errors),
                **told,
            },
            coords={
                "reference": names,
                "split": list(cell.splits),
                "position": np.arange(1, cell.length + 1),
            },
        )


def _loss(batch: ScoredBatch, predictor: Any) -> Tensor:
    """Return a predictor's loss, averaged over the next token where the truth is known, else realised.

    Where only the truth has a distribution, the part of the noise that both share is averaged away.
    """
    truth = _truth(batch)
    if truth is None:
        return -predictor.log_prob(batch)
    distribution = predictor.distribution(batch)
    if distribution is None:
        return entropy(truth) + truth.log_prob(batch.tokens) - predictor.log_prob(batch)
    return cross_entropy(truth, distribution)


def _above(batch: ScoredBatch, reference: Any) -> tuple[Tensor, str]:
    """Return the model's loss above a reference, and how: D_KL(reference, model), or the paired difference."""
    if batch.lawful:
        lower, upper = reference.distribution(batch), batch.model.distribution(batch)
        if lower is not None and upper is not None:
            return kl(lower, upper), "mean KL divergence from the reference"
    difference = reference.log_prob(batch) - batch.model.log_prob(batch)
    return difference.where(difference.isfinite(), torch.nan), "paired difference on realised tokens"


def _truth(batch: ScoredBatch) -> Any:
    """Return the oracle's distribution where averaging under it is right."""
    if not batch.lawful or "oracle" not in batch.references:
        return None
    return batch.references["oracle"].distribution(batch)
