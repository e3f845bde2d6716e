"""A fixed number of training sequences: few topics with many, or many topics with few."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, falls, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Population excess and both gaps along K N = 1024."""
    last = iclkit.final(cube)
    excess = last["excess"].sel(split="topics").mean("position")
    yield Finding(
        claim="Of a fixed number of sequences, many topics with few sequences each serve new topics best",
        paper="not reported: K, N and T were varied one at a time, which reviewers asked about",
        rows=rows(excess, "excess on new topics"),
        holds=falls(excess, "budget"),
    )
    yield Finding(
        claim="The gap of topics is traded for a gap of sequences",
        paper="rate 1 / sqrt(K T_p) + 1 / sqrt(K N T): the second term is the same along a fixed budget",
        rows=[
            *rows(last["topic_gap"].sel(first_position=2), "topic gap"),
            *rows(last["sequence_gap"].sel(first_position=2), "sequence gap"),
        ],
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=(
        "sweep.seed=[0]",
        'sweep.budget.zip={"data.topics"=[4, 1024], "data.sequences"=[256, 1]}',
        "trainer.steps=200",
        "evaluation.sequences=256",
    ),
)
