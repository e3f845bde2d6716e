"""More sequences of each training topic, with the number of topics as it is."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, falls, fitted, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Population excess by N, and the gap between training sequences and new ones of the same topics."""
    last = iclkit.final(cube)
    excess = last["excess"].sel(split="topics").mean("position")
    several = last.sizes["sequences"] > 2
    for values, told, claim, paper in (
        (
            excess,
            "excess on new topics",
            "The loss on new topics falls with more sequences of each training topic",
            "accuracy and loss improve with N (slides, reviews); numbers unknown",
        ),
        (
            last["sequence_gap"].sel(first_position=2),
            "sequence gap",
            "The gap between training sequences and new ones of the same topics closes with more of them",
            "its bound on this gap has a factor 1 / sqrt(K N T); a bound may be far above what it bounds",
        ),
    ):
        slope = iclkit.analysis.scaling_fit(values, "sequences", theory=-0.5)
        yield Finding(
            claim=claim,
            paper=paper,
            rows=[
                *rows(values, told),
                *(fitted(slope, "exponent of N", expected="-0.5 in the bound") if several else []),
            ],
            holds=falls(values, "sequences"),
        )
    yield Finding(
        claim="The gap of topics stays",
        paper="its bound on this gap has a factor 1 / sqrt(K), and no N",
        rows=rows(last["topic_gap"].sel(first_position=2), "topic gap"),
        note="the gap of topics depends on what is learned of the training topics, so it need not be constant",
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=('sweep={"data.sequences"=[1, 64], seed=[0]}', "trainer.steps=120", "evaluation.sequences=256"),
    figures=("scaling",),
)
