"""The expected rise of the loss under Gaussian weight noise: the sharpness that PAC-Bayes bounds pay for."""

from typing import Any

import numpy as np
import torch
import xarray as xr

from iclkit.api import MeasuredCell, NotApplicable, ScoredBatch
from iclkit_metrics.flatness.weight_noise import disturbed, draw
from iclkit_metrics.sequences import some_of, split_of
from iclkit_metrics.snapshots import chosen
from iclkit_metrics.with_error import with_error


class Flatness:
    """E[L(theta + s z)] - L(theta), z standard normal, in nats per token (Neyshabur et al., arXiv 1706.08947, eq. 3).

    L is the mean loss of the realised tokens of some sequences. Every draw is used with both signs, so that what is odd
    in the noise cancels: near a minimum the rise is s^2/2 times the trace of the Hessian (for relative scales, of the
    Hessian weighted by each tensor's mean square). The draws are the same for all scales and snapshots. The standard
    error is over draws.
    """

    def __init__(self, config: Any):
        self._config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return the rise, dims (step, scale); raises NotApplicable where the model is no torch module."""
        config = self._config
        if not hasattr(cell.models[cell.steps[-1]], "module"):
            name = type(cell.models[cell.steps[-1]]).__name__
            raise NotApplicable(f"{name} is no torch module, so it has no weights to disturb")
        split = split_of(cell, config.split, ("train", "topics"))
        batches = some_of(cell, split, config.sequences)
        rise = np.full((config.replicates, len(cell.steps), len(config.scales)), np.nan)
        loss = np.full(len(cell.steps), np.nan)
        for place, step in chosen(cell.steps, config.snapshots).items():
            model = cell.models[step]
            loss[place] = _mean_loss(model, batches)
            for replicate in range(config.replicates):
                noise = draw(model.module, config.relative, cell.key.fold("noise").fold(replicate))
                for at, scale in enumerate(config.scales):
                    both = 0.0
                    for sign in (-1, 1):
                        with disturbed(model.module, noise, sign * scale):
                            both += _mean_loss(model, batches) / 2
                    rise[replicate, place, at] = both - loss[place]
        error = rise.std(0, ddof=1) / np.sqrt(config.replicates)
        data = xr.Dataset(
            with_error("flatness", ("step", "scale"), rise.mean(0), error) | {"flatness_loss": ("step", loss)},
            coords={"step": list(cell.steps), "scale": list(config.scales)},
        )
        kind = "relative to each tensor's root mean square" if config.relative else "absolute"
        data["flatness"].attrs |= {"split": split, "scales": kind}
        return data


@torch.no_grad()
def _mean_loss(model: Any, batches: list[ScoredBatch]) -> float:
    """Return the mean loss of all scored tokens, nats."""
    total, count = 0.0, 0
    for batch in batches:
        loss = -model.log_prob(batch)
        scored = batch.mask & ~loss.isnan()  # without begin token position 1 is not predicted
        total += float(torch.where(scored, loss, 0.0).sum())
        count += int(scored.sum())
    return total / max(count, 1)
