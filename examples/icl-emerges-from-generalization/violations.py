"""What is left to learn in context where topics are less than topics, and whether a model learns it."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows

import iclkit

KINDS = ("overlap", "boundaries", "token noise", "structureless", "skew")


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """In-context gain by violation beside the exact one, and the distance from the exact optimum."""
    last = iclkit.final(cube).sel(split="topics")
    gain = _gain(last["loss"])
    exact = _gain(last["loss"] - last["excess"]).mean("seed")
    told = {
        f"violation = {name}": f"{value:.3g}"
        for name, value in zip(exact["violation"].values, exact.values, strict=True)
    }
    yield Finding(
        claim="The less there is of a topic in a sequence, the less is learned in context",
        paper="sequences of one topic with clear boundaries are assumed; what happens without is not told",
        rows=rows(
            gain, "c_1 less the last c, new sequences", expected=lambda setting: f"{told[setting]}, the exact optimum's"
        ),
        holds=all(_monotone(gain, kind) for kind in KINDS),
        note="each kind of violation lowers it, and more of it lowers it further",
    )
    excess = last["excess"].mean("position")
    yield Finding(
        claim="What is left is learned: the model is at the optimum of the violated source",
        paper="not told",
        rows=rows(excess, "excess over the exact optimum"),
        holds=bool((excess < 0.01).all()),
    )


def _gain(curve: xr.DataArray) -> xr.DataArray:
    return curve.isel(position=0) - curve.isel(position=-1)


def _monotone(gain: xr.DataArray, kind: str) -> bool:
    """Whether the mean over seeds falls from no violation through the degrees of a kind, as far as there are any."""
    names = ["none", *(str(name) for name in gain["violation"].values if str(name).startswith(kind))]
    means = gain.mean("seed").sel(violation=names).values
    return bool((means[1:] < means[:-1]).all())


_REDUCED = (
    "none={}",
    '"overlap .5"={source={overlap=0.5}}',
    '"overlap .9"={source={overlap=0.9}}',
    '"boundaries .1"={source={boundaries=0.1}}',
    '"structureless .5"={source={structureless=0.5}}',
    '"skew 3"={source={skew=3.0}}',
)
EXPERIMENT = Experiment(
    measure=measure,
    reduced=(
        "sweep.seed=[0]",
        f"sweep.violation.choices={{{', '.join(_REDUCED)}}}",
        "data.length=32",
        "trainer.steps=300",
        "evaluation.sequences=1024",
    ),
    figures=("icl-curve",),
)
