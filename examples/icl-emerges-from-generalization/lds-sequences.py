"""Linear systems: more sequences per training topic, and longer ones."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, falls, fitted, rows

import iclkit

LONGEST = {"N": 64.0, "T": 41.0}  # the setting "N = 64" is the longest of both


def along(values: xr.DataArray, name: str) -> xr.DataArray:
    """Return the cells in which N or T differs from the largest, and the largest, by their numbers in order."""
    own = {label: float(label.split("=")[1]) for label in values["setting"].values if label.startswith(f"{name} =")}
    own |= {"N = 64": LONGEST[name]}
    chosen = values.sel(setting=list(own)).rename(setting=name).assign_coords({name: list(own.values())})
    return chosen.sortby(name)


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Loss above the oracle on new systems, and the gap of sequences, by N and by T."""
    last = iclkit.final(cube)
    above = last["regret"].sel(split="topics").mean("position")
    gap = last["sequence_gap"].sel(first_position=2)
    for name, what in (("N", "with more sequences of each training system"), ("T", "with longer training sequences")):
        values = along(above, name)
        slope = iclkit.analysis.scaling_fit(values, name, theory=-0.5)
        yield Finding(
            claim=f"The loss on new linear systems falls {what}",
            paper="loss improves with N and T (slides, reviews); numbers unknown",
            rows=[
                *rows(values, "loss above the oracle on new systems, 41 positions"),
                *(fitted(slope, f"exponent of {name}", expected="-0.5 in the bound") if values.sizes[name] > 2 else []),
            ],
            holds=falls(values, name),
            note="no exact optimum is known for these systems",
        )
    yield Finding(
        claim="The gap between training sequences and new ones of the same systems closes with more of them",
        paper="its bound on this gap has a factor 1 / sqrt(K N T); a bound may be far above what it bounds",
        rows=rows(along(gap, "N"), "sequence gap"),
        holds=falls(along(gap, "N"), "N"),
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=(
        "sweep.seed=[0]",
        'sweep.setting.choices={"N = 4"={data={sequences=4}},"N = 64"={},"T = 10"={data={length=10}}}',
        "trainer.steps=300",
        "evaluation.sequences=256",
    ),
    figures=("icl-curve",),
)
