"""Four architectures on random Markov chains: all adapt in context."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """What each architecture learns in context, of what there is, and how far it stays from the optimum."""
    data = cube.sel(split="topics")
    last = iclkit.final(data)
    best = last["floor"].sel(reference="population")
    learned, possible = (
        one.isel(position=0) - one.isel(position=slice(-8, None)).mean("position") for one in (last["loss"], best)
    )
    yield Finding(
        claim="Every architecture that is trained on the next token learns in context",
        paper="abstract: in-context learning follows from the training distribution; code: transformer and GRU",
        rows=rows(
            learned, "c_1 less the mean of the last eight c_l", expected=f"{float(possible.mean()):.4f} for the optimum"
        ),
        holds=bool((learned > 0.8 * possible).all()),
    )
    excess = last["excess"].mean("position")
    yield Finding(
        claim="They differ in how near they come to the optimum",
        paper="no comparison known",
        rows=rows(excess, "excess"),
        note="at this size and after this training; says nothing on the architectures at their best",
    )
    early = data["excess"].mean("position")
    steps = iclkit.analysis.threshold_crossing(early.dropna("step"), below=0.05)
    yield Finding(
        claim="All of them come near to the optimum early in training",
        paper="no number known",
        rows=rows(steps, "excess below 0.05 nat", units="step"),
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=("sweep.seed=[0]", "trainer.steps=300", "evaluation.sequences=512"),
    figures=("icl-curve",),
)
