"""What the experiments of this folder claim, measured on their cubes."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

import iclkit
from findings import Experiment, Finding, rows


def name_mixture(cube: xr.Dataset) -> Iterator[Finding]:
    """Stages of learning, and the loss on a name by how often it has come."""
    last = iclkit.final(cube).sel(split="topics")
    order = ["uniform", "static-unigram", "static-bigram", "population"]
    stages = [
        _runs(values.values) for _, values in cube["nearest"].sel(split="topics", architecture="gru").groupby("seed")
    ]
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


def induction(cube: xr.Dataset) -> Iterator[Finding]:
    """One layer against two, and when the head appears."""
    late = iclkit.final(cube)["loss"].sel(split="topics", position=slice(48, None)).mean("position")
    yield Finding(
        claim="Copying a repeated block takes two layers",
        paper="the induction-head experiment; settings of the printed figure unknown",
        rows=rows(late, "loss in the second repetition"),
        holds=bool((late.sel(layers=1) > 1.0).all() and (late.sel(layers=2) < 0.3).all()),
    )
    two = cube.sel(layers=2)
    best = two["prefix_matching"].max(["layer", "head"])
    change = two.sel(positions="32-63").isel(change=0)
    crossing = xr.concat(
        [
            iclkit.threshold_crossing(one.dropna("step"), above=float(one.max()) / 2)
            for one in (best.sel(seed=seed) for seed in best["seed"])
        ],
        "seed",
    )
    middle, width = change["change_step"], change["change_width"]
    inside = (crossing >= change["change_low"] - width) & (crossing <= change["change_high"] + width)
    yield Finding(
        claim="The loss falls when the induction head appears",
        paper="abstract: induction heads; no number known",
        rows=[
            *rows(middle, "middle of the fall of the loss", units="step"),
            *rows(width, "10 to 90 % of the fall", units="step"),
            *rows(crossing, "prefix matching passes half of its maximum", units="step"),
        ],
        holds=bool(inside.all()),
        note="within the width of the fall",
    )


EXPERIMENTS = [
    Experiment(
        name="name-mixture",
        measure=name_mixture,
        reduced=("sweep.seed=[0]", "trainer.steps=600"),
        figures=("emergence", "occurrence"),
    ),
    Experiment(
        name="induction", measure=induction, reduced=("sweep.seed=[0]",), figures=("induction-heads", "emergence")
    ),
]
