"""The in-context loss, and how far it is from what is possible."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from iclkit.api import MeasuredCell, ScoredBatch
from iclkit_metrics.expected_loss import above, divergence, expected_loss, log_ratio
from iclkit_metrics.loss import generalisation
from iclkit_metrics.loss.spec import FIRST_POSITIONS
from iclkit_metrics.scored_positions import mean_over, scored_positions, since

_NO_KIND = "none: this source has no exact optimum for the split"


class Loss:
    """Loss, floor, optimum, excess, regret and impossible share, nats per token, by split and position.

    Where the oracle has a distribution and tokens are fresh (all splits but train), losses and floors average the
    next token under the true conditional instead of taking the realised one, and the excess over a reference that
    is the true law given the prefix is the mean D_KL(reference, model) at the sampled prefixes: the same
    expectations with far less noise. For real tokens that is so Gaussian to Gaussian. A mixture of Gaussians has no
    closed form: its floor is the oracle's entropy plus the realised log-ratio of oracle to mixture, and the excess
    over it is the paired difference on realised tokens.

    The losses of arXiv 2502.17024 (section 3) are relative to the oracle, averaged over the scored positions of a
    sequence, from position 1 on and, as the paper's t predicts x_{t+1}, from position 2 on (`first_position`):
    log_ratio : mean ln P_oracle / P_model of the realised tokens; on train the empirical loss L_E.
    oracle_kl : mean D_KL(oracle, model) at sampled prefixes; on train the step from tokens to their law (i), on
        sequences the first-level loss L(theta, W_pre), on topics the population loss L(theta), whose least value is
        I(W; X_1 .. X_T) / T, not 0.
    sequence_gap, topic_gap : L(theta, W_pre) - L_E, and L(theta) - L(theta, W_pre).
    relative_loss : c_l / h_l - 1 (arXiv 2505.18373, 1.2) as excess / h_l, h_l the floor of the split's optimum.
    """

    coords: Mapping[str, Any] = MappingProxyType({"first_position": FIRST_POSITIONS})

    def __init__(self, config: Any):
        del config
        self._kinds: dict[str, str] = {}

    def score(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return loss, excess and regret of a snapshot's model, float64 (B, T)."""
        scores = {"loss": expected_loss(batch, batch.model)}
        if batch.optimum is not None:
            scores["excess"], self._kinds[batch.split] = above(batch, batch.references[batch.optimum])
        if "oracle" in batch.references:
            ratio, kl = log_ratio(batch, batch.references["oracle"]), divergence(batch, "oracle")
            scores["regret"] = kl if batch.lawful else ratio
            scores["log_ratio"], scores["oracle_kl"] = (_averages(each, batch.mask) for each in (ratio, kl))
        return scores

    def score_references(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return the floors, float64 (B, R, T), NaN where a reference rules a sequence out, and where it does."""
        if not batch.references:
            return {}
        floors = torch.stack([expected_loss(batch, reference) for reference in batch.references.values()], dim=1)
        possible = floors.isfinite()
        return {"floor": floors.where(possible, torch.nan), "impossible": (~possible).double()}

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Add the exact expectations, what follows from the averages, and what excess was measured from and how."""
        relative = generalisation.relative_loss(cell)  # of the splits that have an optimum
        return self._exact(cell).merge(generalisation.gaps(cell)).merge(relative, join="left")

    def _exact(self, cell: MeasuredCell) -> xr.Dataset:
        names = list(dict.fromkeys(name for split in cell.splits for name in cell.references[split]))
        shape = len(names), len(cell.splits), cell.length
        values, errors = np.full(shape, np.nan), np.full(shape, np.nan)
        methods: dict[str, str] = {}
        ask = getattr(cell.source, "optimum", lambda *law: None)
        for place, split in enumerate(cell.splits):
            known = [(law, ask(law.asked, law.topics, law.weights, cell.length)) for law in cell.laws[split]]
            if all(exact is None for _, exact in known):
                continue
            scored = scored_positions(cell, split)
            for law, exact in known:
                if exact is not None:
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


def _averages(values: Tensor, mask: Tensor) -> Tensor:
    """Return each sequence's mean over scored positions, from each of the first positions on, float64 (B, 2)."""
    return torch.stack([mean_over(values, since(mask, first)) for first in FIRST_POSITIONS], dim=1)
