"""Coins of unknown bias: exponential decay for few of them, a power law for a continuum."""

import math
from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, fitted, rows

import iclkit

FEW = {"2 coins": 2, "3 coins": 3, "10 coins": 10}
CONTINUA = ["uniform", "Beta(2, 2)"]
RANGE, EARLY, LATE = slice(8, 64), slice(4, 16), slice(32, 64)  # positions


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """How the loss falls to the entropy rate: its exponents and its area."""
    last = iclkit.final(cube).sel(split="topics")
    exact = last["power_law_optimum"].mean("seed")  # the same for all
    curve = exact + last["excess"]  # c_l - h as h_l - h, exact, and the model's KL divergence, which has little noise
    yield _power_law(curve.sel(position=RANGE), exact.sel(position=RANGE))
    yield _crossover(curve, exact)
    few = [name for name in FEW if name in cube["ensemble"]]
    areas, known = (one.sel(ensemble=few).sum("position") for one in (curve, exact))
    yield Finding(
        claim="In all, n equally likely coins are worth ln n nat of in-context learning",
        paper="derived: the area under h_l - h is the coins' entropy; n = 2 and 10 are in the authors' code",
        rows=[
            one
            for name in few
            for one in rows(
                areas.sel(ensemble=[name]),
                "area under c_l - h",
                expected=f"{float(known.sel(ensemble=name)):.4g} up to here, {math.log(FEW[name]):.4g} in the end",
            )
        ],
        holds=bool((abs(areas - known) < 0.1).all()),
        note="ten coins are not yet told apart within the context",
    )


def _power_law(curve: xr.DataArray, exact: xr.DataArray) -> Finding:
    names = [name for name in CONTINUA if name in curve["ensemble"]]
    curve, exact = curve.sel(ensemble=names), exact.sel(ensemble=names)
    slope, known = (iclkit.analysis.scaling_fit(one, "position")["exponent"] for one in (curve, exact))
    scaled, known_scaled = ((one * one["position"]).mean("position") for one in (curve, exact))
    fit = iclkit.analysis.scaling_fit(curve, "position")
    near = abs(slope - known) < 0.05
    return Finding(
        claim="With a continuum of coins the loss falls to the entropy rate as a power law, 1 / (2 l) for any prior",
        paper="abstract: power-law scaling, no number known; k / (2 l) for k parameters is the standard result",
        rows=[
            one
            for name in names
            for one in (
                *fitted(
                    fit.sel(ensemble=[name]),
                    "exponent over positions 8 to 64",
                    expected=f"{float(known.sel(ensemble=name)):.3f}, the exact curve's",
                ),
                *rows(
                    scaled.sel(ensemble=[name]),
                    "mean of l (c_l - h) there",
                    expected=f"{float(known_scaled.sel(ensemble=name)):.3f}; 1/2 as l grows",
                ),
            )
        ],
        holds=bool(near.all() and (abs(scaled / known_scaled - 1) < 0.1).all()),
        note="like the exact curve there, which is not yet at -1 and 1/2",
    )


def _crossover(curve: xr.DataArray, exact: xr.DataArray) -> Finding:
    early, late = (iclkit.analysis.scaling_fit(curve.sel(position=part), "position") for part in (EARLY, LATE))
    known = iclkit.analysis.scaling_fit(exact.sel(position=LATE), "position")["exponent"]
    names = [name for name in (*FEW, "uniform") if name in curve["ensemble"]]
    falls = [float(late["exponent"].sel(ensemble=name).mean()) for name in names]  # the fewer coins, the steeper
    return Finding(
        claim="Few coins first look like a continuum; then the loss falls exponentially, the sooner the fewer they are",
        paper="derived: the rate is that of the two closest coins",
        rows=[
            *fitted(early.sel(ensemble=names), "exponent over positions 4 to 16"),
            *(
                one
                for name in names
                for one in fitted(
                    late.sel(ensemble=[name]),
                    "exponent over positions 32 to 64",
                    expected=f"{float(known.sel(ensemble=name)):.3f}, the exact curve's",
                )
            ),
        ],
        holds=falls[0] < -1.2
        and falls[-1] > -1.1
        and all(fall < min(falls[place:]) for place, fall in enumerate(falls[: max(1, len(falls) - 2)], start=1)),
        note="ten coins do not yet differ from a continuum at such l" if "10 coins" in names else "",
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=(
        "sweep.seed=[0]",
        'sweep.ensemble={choices={"2 coins"={source={biases=[0.3333333333333333, 0.6666666666666667]}}, uniform={}}}',
        "data.length=64",
        "trainer.steps=300",
        "evaluation.sequences=512",
    ),
    fast=True,
    figures=("power-law",),
)
