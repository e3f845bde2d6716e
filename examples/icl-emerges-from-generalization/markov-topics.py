"""More training topics: what becomes of the loss on new topics, and of the gaps of generalisation."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from findings import Experiment, Finding, falls, fitted, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Population excess by K, the two gaps with their slopes, and the three losses."""
    last = iclkit.final(cube)
    excess = last["excess"].sel(split="topics").mean("position")
    finite = last.sel(topics=np.isfinite(last["topics"])).sel(first_position=2)
    several = finite.sizes["topics"] > 1
    slope = iclkit.analysis.scaling_fit(excess, "topics", theory=-0.5)
    yield Finding(
        claim="The loss on new topics falls as the number of training topics grows",
        paper="accuracy and loss improve with K (slides, reviews); numbers unknown",
        rows=[
            *rows(excess, "excess on new topics"),
            *(fitted(slope, "exponent of K", expected="-0.5 in the bound") if several else []),
        ],
        holds=falls(excess, "topics"),
    )
    gap = finite["topic_gap"]
    slope = iclkit.analysis.scaling_fit(gap, "topics", theory=-0.5)
    yield Finding(
        claim="What falls is the gap between new topics and new sequences of the training topics",
        paper="its bound on this gap has a factor 1 / sqrt(K); a bound may be far above what it bounds",
        rows=[
            *rows(gap, "topic gap"),
            *(fitted(slope, "exponent of K", expected="-0.5 in the bound") if several else []),
            *rows(finite["sequence_gap"], "sequence gap"),
        ],
        holds=falls(gap, "topics") if several else None,
        note="sequences are never seen twice, so there is no gap between training sequences and new ones to close",
    )
    yield Finding(
        claim="The population loss splits into the empirical loss, a gap of sequences and a gap of topics",
        paper="the frame of its proof; no numbers known",
        rows=[
            *rows(finite["log_ratio"].sel(split="train", drop=True), "empirical loss, training sequences"),
            *rows(finite["oracle_kl"].sel(split="sequences", drop=True), "first-level loss, new sequences"),
            *rows(finite["oracle_kl"].sel(split="topics", drop=True), "population loss, new topics"),
        ],
        note="all three are relative to the oracle, which knows the topic; averaged from position 2 on",
    )
    near = excess.sel(topics=np.inf)
    yield Finding(
        claim="With a new topic in every sequence, new topics are learned from the context about as well as can be",
        paper="in-context learning as a small population loss; no number known",
        rows=rows(near, "excess over the exact optimum, fresh topics"),
        holds=bool((near < 0.05).all()),
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=('sweep={"data.topics"=[4, "fresh"], seed=[0]}', "trainer.steps=150", "evaluation.sequences=256"),
    fast=True,
    figures=("scaling", "losses"),
)
