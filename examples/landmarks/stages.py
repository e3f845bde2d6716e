"""Fresh random Markov chains: uniform, then frequencies in context, then what follows each token in context."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from findings import Experiment, Finding, rows

import iclkit

# predictors that are one stage: over fresh chains nothing static is better than uniform, and the exact optimum counts
# what followed each token
_STAGE = {
    "uniform": "uniform",
    "static-unigram": "uniform",
    "static-bigram": "uniform",
    "context-unigram": "unigram in context",
    "context-bigram": "bigram in context",
    "population": "bigram in context",
}
_ORDER = ["uniform", "unigram in context", "bigram in context"]


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Stages by the nearest predictor and by mixture weights, and how sudden the last one is."""
    nearest = cube["nearest"].sel(split="topics")
    cells = nearest.stack(cell=[dim for dim in nearest.dims if dim != "step"]).transpose("cell", "step")
    weight = cube["algorithm_weight"].sel(split="topics", drop=True)
    unigram, bigram = (weight.sel(predictor=f"context-{name}", drop=True) for name in ("unigram", "bigram"))
    yield Finding(
        claim="In-context learning of Markov chains comes in stages: uniform, unigram, bigram",
        paper="Edelman et al.: three stages, the unigram one a plateau [R]",
        rows=[
            *rows(unigram.max("step"), "largest weight of the unigram in context", units="1"),
            *rows(_crossing(unigram, 0.5), "step where the unigram in context has weight 0.5", units="step"),
            *rows(_crossing(bigram, 0.5), "step where the bigram in context has weight 0.5", units="step"),
        ],
        holds=all(_stages(cell.values) == _ORDER for cell in cells),
        note="by the nearest of the named predictors, every seed",
    )
    late = cube.sel(positions="16-31")
    height, width, middle = late["change_height"], late["change_width"], late["change_step"]
    last = height.notnull().sum("change") - 1  # the last sudden change of each cell
    yield Finding(
        claim="The passage to the bigram is sudden",
        paper="Edelman et al.: a sharp fall of the loss after the plateau [R]",
        rows=[
            *rows(middle.isel(change=last.clip(min=0)), "middle of the last fall, positions 16 to 31", units="step"),
            *rows(width.isel(change=last.clip(min=0)), "10 to 90 % of it", units="step"),
        ],
    )
    excess = iclkit.final(cube)["excess"].sel(split="topics").mean("position")
    yield Finding(
        claim="At the end the model is near the exact Bayes predictor, which counts bigrams",
        paper="Edelman et al.: the loss of the bigram solution is reached [R]",
        rows=rows(excess, "excess"),
        note="still falling when training ends",
    )


def _stages(names: np.ndarray) -> list[str]:
    """Return the stages in the order in which they first come, and the last one once more if it is not the newest."""
    told = [_STAGE.get(str(name), str(name)) for name in names if name]
    first = list(dict.fromkeys(told))  # near a border the nearest predictor flickers
    return first if told[-1] == first[-1] else [*first, told[-1]]


def _crossing(weight: xr.DataArray, above: float) -> xr.DataArray:
    """Return the step at which a weight first passes a value; snapshots that were not looked at are left out."""
    return iclkit.analysis.threshold_crossing(weight.dropna("step", how="all"), above=above)


EXPERIMENT = Experiment(
    measure=measure, reduced=("sweep.seed=[0]", "trainer.steps=500"), figures=("algorithm-mixture", "emergence")
)
