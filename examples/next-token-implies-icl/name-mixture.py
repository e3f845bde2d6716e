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
    distance = cube["distance"].sel(split="topics", predictor=order)
    nearest = distance["predictor"][distance.argmin("predictor")]
    stages = [_runs(nearest.sel(seed=seed).values) for seed in nearest["seed"]]
    first = xr.concat([_first(nearest, name) for name in order[1:]], xr.DataArray(order[1:], dims="predictor"))
    level = cube["plateau_level"].sel(positions="all").isel(plateau=0, drop=True)
    yield Finding(
        claim="The in-context solution is reached in stages: uniform, unigram, bigram, mixture",
        paper="authors' public code: the GRU's loss stays at the unigram's for a while; its exact value is derived",
        rows=[
            *rows(level, "first plateau of the training loss", expected="1.445, the unigram's loss"),
            *rows(first, "first snapshot at which it is nearest", units="step"),
        ],
        holds=all(found == order for found in stages),
        note="by the nearest of these four at each snapshot; of all predictors that are compared, counts of the "
        "context's pairs may come between unigram and bigram",
    )
    some = last["occurrence_loss"].isel(occurrence=[0, 1, 5])
    yield Finding(
        claim="A name that was seen is copied",
        paper="authors' code has it for a small transformer; see name-mixture-transformer.toml",
        rows=rows(some, "loss on a name", expected="0.992 on the first, 0 after"),
        holds=bool((some.isel(occurrence=2) < 0.2 * some.isel(occurrence=0)).all()),
    )
    excess = last["excess"].mean("position")
    yield Finding(
        claim="The trained GRU is near the optimum",
        paper="authors' code: late positions within .01 of it, relative to the entropy rate",
        rows=rows(excess, "excess"),
        holds=bool((excess < 0.02).all()),
    )


def _first(nearest: xr.DataArray, name: str) -> xr.DataArray:
    """Return the first step at which a predictor is the nearest."""
    return nearest["step"].where(nearest == name).min("step")


def _runs(names: np.ndarray) -> list[str]:
    """Return names in the order in which they come, neighbours that are equal once."""
    return [str(name) for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


EXPERIMENT = Experiment(
    measure=measure, reduced=("sweep.seed=[0]", "trainer.steps=600"), figures=("emergence", "occurrence")
)
