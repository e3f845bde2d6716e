"""Two authors who differ in one name: stages of learning, and loss by occurrence."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from findings import Experiment, Finding, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Stages of learning, and the loss on a name by how often it has come."""
    last = iclkit.final(cube).sel(split="topics")
    order = ["uniform", "static-unigram", "static-bigram", "population"]
    nearest = cube["nearest"].sel(split="topics", architecture="gru")
    stages = [_runs(nearest.sel(seed=seed).values) for seed in nearest["seed"]]
    levels = cube["plateau_level"].sel(positions="all", architecture="gru").isel(plateau=[0, 1])
    yield Finding(
        claim="The in-context solution is reached in stages: uniform, unigram, bigram, mixture",
        paper="authors' public code: GRU plateaus at the unigram's loss; exact plateaus 1.445 and .951 are derived",
        rows=rows(levels, "plateau", expected="1.445, then 0.951"),
        holds=all(found == order for found in stages),
        note="for the GRU; the transformer is never nearest to the bigram predictor" if len(stages) > 1 else "",
    )
    names = last["occurrence_loss"].isel(occurrence=[0, 1, 5])
    yield Finding(
        claim="A name that was seen is copied",
        paper="authors' code, small transformer: 1.05 nat on the first name, .0079 on the second, .0016 on the sixth",
        rows=rows(names, "loss on a name", expected="0.992 on the first, 0 after"),
        holds=bool((names.isel(occurrence=2) < 0.2 * names.isel(occurrence=0)).all()),
    )
    yield Finding(
        claim="The trained model is near the optimum",
        paper="late positions within .01 relative loss (authors' code)",
        rows=rows(last["excess"].mean("position"), "excess"),
        holds=bool((last["excess"].mean("position") < 0.02).all()),
    )


def _runs(names: np.ndarray) -> list[str]:
    """Return names in the order in which they come, neighbours that are equal once."""
    return [str(name) for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


EXPERIMENT = Experiment(
    measure=measure, reduced=("sweep.seed=[0]", "trainer.steps=600"), figures=("emergence", "occurrence")
)
