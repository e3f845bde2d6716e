"""Two authors who differ in one name: the authors' small transformer copies the name that it has seen."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """The loss on a name by how often it has come, at the end and when the copy appears."""
    last = iclkit.final(cube).sel(split="topics")
    some = last["occurrence_loss"].isel(occurrence=[0, 1, 5])
    yield Finding(
        claim="A name that was seen is copied",
        paper="authors' code, same transformer: 1.05 nat on the first name, .0079 on the second, .0016 on the sixth",
        rows=rows(some, "loss on a name", expected="0.992 on the first, 0 after"),
        holds=bool((some.isel(occurrence=2) < 0.2 * some.isel(occurrence=0)).all()),
    )
    again = cube["occurrence_loss"].sel(split="topics").isel(occurrence=[1, 5])
    half = iclkit.analysis.threshold_crossing(again.dropna("step"), below=0.5 * 0.6931)
    yield Finding(
        claim="Copying appears early and suddenly",
        paper="authors' code: between step 20 and 60 (1 to 3 million tokens) for one seed",
        rows=rows(half, "loss on a name below half of ln 2", units="step"),
    )
    excess = last["excess"].mean("position")
    yield Finding(
        claim="The trained transformer is near the optimum",
        paper="authors' code: within .02 of it at positions 2 to 8",
        rows=rows(excess, "excess"),
        holds=bool((excess < 0.05).all()),
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=("trainer.steps=300", "trainer.snapshots=12", "trainer.batch_size=256", "trainer.learning_rate=2e-3"),
    figures=("occurrence",),
)
