"""Dice, Markov chains and parentheses: three ways in which the loss falls as a power law."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, fitted, rows

import iclkit

PARAMETERS = {"dice, V = 3": 2, "dice, V = 6": 5, "chains, V = 2": 2, "chains, V = 3": 6}
RANGE = slice(8, 32)  # positions


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Exponents and coefficients, beside those of the exact predictor on the same sequences."""
    last = iclkit.final(cube).sel(split="topics", position=RANGE)
    curve, exact = last["power_law_curve"], last["power_law_floor"].mean("seed")  # c_l - h and h_l - h, equal for all
    slope, known = (iclkit.analysis.scaling_fit(one, "position") for one in (curve, exact))
    off = abs(slope["exponent"] - known["exponent"])
    scaled, known_scaled = ((one * one["position"]).mean("position") for one in (curve, exact))
    yield Finding(
        claim="Topics of k parameters make the loss fall as a power law, in proportion to k as l grows",
        paper="abstract: power-law scaling; k / (2 l) is the standard result: (V - 1) / (2 l), V (V - 1) / (2 l)",
        rows=[
            one
            for name, k in PARAMETERS.items()
            for one in (
                *fitted(
                    slope.sel(ensemble=[name]),
                    "exponent over positions 8 to 32",
                    expected=f"{float(known['exponent'].sel(ensemble=name)):.3f} of the exact predictor; -1 as l grows",
                ),
                *rows(
                    scaled.sel(ensemble=[name]),
                    "mean of l (c_l - h) there",
                    expected=f"{float(known_scaled.sel(ensemble=name)):.3f} of the exact predictor; "
                    f"{k / 2:g} as l grows",
                ),
            )
        ],
        holds=bool(
            (off.sel(ensemble=list(PARAMETERS)) < 0.1).all()
            and (abs(scaled / known_scaled - 1).sel(ensemble=list(PARAMETERS)) < 0.15).all()
            and (scaled.sel(ensemble="dice, V = 6") > 1.5 * scaled.sel(ensemble="dice, V = 3")).all()
            and (scaled.sel(ensemble="chains, V = 3") > 1.5 * scaled.sel(ensemble="chains, V = 2")).all()
        ),
        note="against the exact predictor on the same sequences, far from the limit at such l",
    )
    yield Finding(
        claim="Parentheses near criticality show a power law within one ergodic source",
        paper="a guess from the authors' code; in a talk they name grammars as a route to power laws",
        rows=fitted(
            slope.sel(ensemble=["parentheses"]),
            "exponent over positions 8 to 32",
            expected=f"{float(known['exponent'].sel(ensemble='parentheses')):.3f} of the exact predictor",
        ),
        holds=bool(off.sel(ensemble="parentheses") < 0.15),
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=("sweep.seed=[0]", "trainer.steps=600", "evaluation.sequences=1024"),
    figures=("power-law",),
)
