"""Longer training sequences, measured on the same long sequences."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, falls, fitted, rows, tail

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Population excess by T, over all positions and over those that every model was trained on."""
    excess = iclkit.final(cube)["excess"].sel(split="topics")
    whole, shared = excess.mean("position"), excess.sel(position=slice(None, 16)).mean("position")
    slope = iclkit.analysis.scaling_fit(whole, "length", theory=-0.5)
    yield Finding(
        claim="The loss on new topics falls with the length of the training sequences",
        paper="accuracy and loss improve with T (slides, reviews); its bound has a factor 1 / sqrt(K N T)",
        rows=[
            *rows(whole, "excess on new topics, 128 positions"),
            *rows(tail(excess), "excess at the last 13 of 128 positions"),
            *(fitted(slope, "exponent of T", expected="-0.5 in the bound") if excess.sizes["length"] > 2 else []),
        ],
        holds=falls(whole, "length"),
        note="positions past the training length are new to the model, which is most of the effect",
    )
    yield Finding(
        claim="Longer training sequences help at the positions that shorter ones have, too",
        paper="not told apart from the above",
        rows=rows(shared, "excess on new topics, first 16 positions"),
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=('sweep={"data.length"=[16, 64], seed=[0]}', "trainer.steps=120", "evaluation.sequences=256"),
    figures=("icl-curve",),
)
