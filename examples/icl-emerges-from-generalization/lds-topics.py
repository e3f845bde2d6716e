"""Linear systems: more training topics, beside the oracle and ridge regression; and longer prompts."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from findings import Experiment, Finding, falls, fitted, rows, single, tail
from linear_systems import ridge_above_oracle

import iclkit

PROMPTS = (5, 10, 20, 41)


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Loss above the oracle on new systems, by K and by the prompt's length."""
    last = iclkit.final(cube).sel(split="topics")
    above = last["regret"]
    mean, fresh = above.mean("position"), above.sel(topics=np.inf)
    several = last.sizes["topics"] > 2
    slope = iclkit.analysis.scaling_fit(mean, "topics", theory=-0.5)
    ridge = ridge_above_oracle(last.sizes["position"])
    yield Finding(
        claim="The loss on new linear systems falls as the number of training systems grows",
        paper="loss falls with K (reviews); dimensions and numbers unknown",
        rows=[
            *rows(mean, "loss above the oracle on new systems"),
            *(fitted(slope, "exponent of K", expected="-0.5 in the bound") if several else []),
            single("ridge regression on the prefix", float(ridge.mean())),
        ],
        holds=falls(mean, "topics"),
        note="no exact optimum is known for these systems; ridge is a baseline and no limit",
    )
    late = tail(above)
    yield Finding(
        claim="With enough training systems, a new system is learned from the context",
        paper="in-context learning of linear systems (the recipe it follows, arXiv 2301.07067)",
        rows=[
            *rows(fresh.max("position"), "highest loss above the oracle at any position, fresh topics"),
            *rows(late, "loss above the oracle at the last 4 positions"),
            single("ridge at the last 4 positions", float(ridge[-4:].mean())),
        ],
        holds=bool((late.sel(topics=np.inf) < 0.5 * fresh.max("position")).all()),
        note="from a start at 0 the loss rises first, as states grow",
    )
    lengths = xr.concat([above.sel(position=slice(None, most)).mean("position") for most in PROMPTS], "prompt length")
    lengths = lengths.assign_coords({"prompt length": list(PROMPTS)})
    learned = lengths.sel(topics=np.inf)
    yield Finding(
        claim="The mean loss falls with the length of the prompt",
        paper="loss falls with T_p (reviews); its bound has a factor 1 / sqrt(K T_p)",
        rows=rows(lengths.isel(topics=[0, -1]), "mean loss above the oracle over the prompt"),
        holds=bool((learned.sel({"prompt length": 41}) < learned.sel({"prompt length": 10})).all()),
        note="asserted from 10 tokens on, where states have grown",
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=('sweep={"data.topics"=[8, "fresh"], seed=[0]}', "trainer.steps=300", "evaluation.sequences=256"),
    fast=True,
    figures=("scaling",),
)
