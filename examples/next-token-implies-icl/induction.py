"""A random block, repeated: one layer against two, and when the head appears."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
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
            iclkit.analysis.threshold_crossing(one.dropna("step"), above=float(one.max()) / 2)
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
            *rows(crossing - middle, "the same after the middle of the fall", units="step"),
        ],
        holds=bool(inside.all()),
        note="within the width of the fall",
    )


EXPERIMENT = Experiment(measure=measure, reduced=("sweep.seed=[0]",), figures=("induction-heads", "emergence"))
