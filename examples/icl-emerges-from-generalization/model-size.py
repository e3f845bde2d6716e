"""Larger models on the same number of tokens."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, falls, fitted, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Population excess by number of parameters, and what the training cost."""
    last = iclkit.final(cube).swap_dims(size="parameters")
    excess = last["excess"].sel(split="topics").mean("position")
    slope = iclkit.analysis.scaling_fit(excess, "parameters")
    flops = last["train_flops"].expand_dims("seed") / 1e12  # the same for all seeds
    several = last.sizes["parameters"] > 2
    yield Finding(
        claim="Larger models are nearer to the optimum on new topics",
        paper="accuracy on GINC rises from 4 to 12 and 16 layers (arXiv 2111.02080); the bound falls with parameters",
        rows=[
            *rows(excess, "excess on new topics"),
            *(fitted(slope, "exponent of parameters") if several else []),
            *rows(flops, "training", units="10^12 operations"),
        ],
        holds=falls(excess, "parameters"),
        note="same number of steps and one learning rate for all",
    )
    population, bound = last["holdout_population"], last["holdout"]
    yield Finding(
        claim="A certificate from held-out topics follows the population loss, whatever the size",
        paper="the bound falls with the number of parameters",
        rows=[*rows(population, "population loss"), *rows(bound, "certificate, 500 held-out topics")],
        holds=bool(((bound >= population - 4 * last["holdout_population_se"]) & (last["holdout_valid"] == 1)).all()),
        note="it knows nothing of the number of parameters",
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=(
        "sweep.seed=[0]",
        'sweep.size.zip={"model.width"=[16, 64], "model.layers"=[1, 3]}',
        "trainer.steps=200",
        "evaluation.sequences=256",
    ),
)
