"""The convex mixture of named predictors that best explains a model's next-token distributions."""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from iclkit.api import Categorical, CategoricalDistribution, MeasuredCell, NotApplicable, ScoredBatch
from iclkit_metrics.algorithm_mixture.convex_weights import ConvexWeights, convex_weights
from iclkit_metrics.algorithm_mixture.spec import WEIGHTS
from iclkit_metrics.dims import STEP_SPLIT
from iclkit_metrics.named_predictors import naive_of, predictors_on
from iclkit_metrics.sequences import some_of, split_of
from iclkit_metrics.snapshots import chosen

_CELLS = 1 << 23  # numbers in the predictors' distributions that are kept, 64 MiB
_GAP = 1e-6  # nats that the residual may be too large


class AlgorithmMixture:
    """Weights w on the simplex that minimise the mean over positions of D_KL(model, sum_j w_j p_j).

    Positions are those of some sequences of a split that are scored and at which the model and all predictors are
    defined. The residual, nats per position, is what no mixture explains; `algorithm_kl` is that of one predictor
    alone. Of predictors that predict alike on these sequences the first is kept, references before naive ones; the
    others are NaN. How the weights are found, and when they are identified, is told in `convex_weights`.
    """

    def __init__(self, config: Any):
        self._config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return weights and residuals; raises NotApplicable for real tokens, and where a predictor is not there."""
        config = self._config
        if not isinstance(cell.facts.space, Categorical):
            raise NotApplicable("predictions of real tokens have densities, which this metric does not mix")
        splits = [split_of(cell, split) for split in config.splits or cell.splits]
        steps = chosen(cell.steps, config.snapshots)
        found = {split: self._fits(cell, split, list(steps.values())) for split in splits}
        names = list(dict.fromkeys(name for fits in found.values() for fit in fits for name in fit.names))
        weight, alone = np.full((2, len(cell.steps), len(splits), len(names)), np.nan)
        residual, identified = np.full(weight.shape[:2], np.nan), np.full(weight.shape[1:], np.nan)
        for at, fits in enumerate(found.values()):
            for place, fit in zip(steps, fits, strict=True):
                columns = [names.index(name) for name in fit.names]
                weight[place, at, columns], alone[place, at, columns] = fit.weights, fit.alone
                residual[place, at] = fit.residual
                identified[at, columns] = np.fmin(identified[at, columns], fit.identified)
        return xr.Dataset(
            {
                "algorithm_weight": (WEIGHTS, weight),
                "algorithm_identified": (("split", "predictor"), identified),
                "algorithm_kl": (WEIGHTS, alone),
                "algorithm_residual": (STEP_SPLIT, residual),
            },
            coords={"step": list(cell.steps), "split": splits, "predictor": names},
        )

    def _fits(self, cell: MeasuredCell, split: str, steps: list[int]) -> list[ConvexWeights]:
        """Return the weights of the models of some steps on one split."""
        config, naive = self._config, naive_of(cell, split)
        width = cell.facts.space.size * cell.length * (len(naive) + len(cell.references[split]))  # type: ignore[union-attr]
        batches = some_of(cell, split, max(1, min(config.sequences, _CELLS // width)))
        known = [_log_probs(batch, predictors_on(batch, naive, config.predictors)) for batch in batches]
        names = [name for name in known[0] if all(name in each for each in known)]
        if not names:
            raise NotApplicable("none of these predictors says what tokens may follow")
        parts = np.stack([torch.cat([each[name] for each in known]).numpy() for name in names])  # (J, n, V)
        apart = _distinct(parts)
        names, parts = [names[place] for place in apart], parts[apart]
        made = []
        for step in steps:
            told = [_log_probs(batch, {"model": cell.models[step]}) for batch in batches]
            if not all(told):
                raise NotApplicable("the model does not say what tokens may follow")
            model = torch.cat([each["model"] for each in told]).numpy()
            try:
                made.append(convex_weights(model, parts, names, _GAP))
            except ValueError as reason:
                raise NotApplicable(str(reason)) from None
        return made


def _log_probs(batch: ScoredBatch, predictors: dict[str, Any]) -> dict[str, Tensor]:
    """Return the log-probabilities of predictors at scored positions, float64 (n, V); none for those without."""
    found = {name: predictor.distribution(batch) for name, predictor in predictors.items()}
    return {
        name: distribution.log_probs[batch.mask]
        for name, distribution in found.items()
        if isinstance(distribution, CategoricalDistribution)
    }


def _distinct(parts: np.ndarray) -> list[int]:
    """Return the places of predictors (J, n, V) that do not predict like one before them."""
    kept: list[int] = []
    probs = np.exp(parts)
    for place, part in enumerate(probs):
        if not any(np.allclose(part, probs[other], rtol=0, atol=1e-9, equal_nan=True) for other in kept):
            kept.append(place)
    return kept
