"""Tasks of text: accuracy on unseen tasks, by demonstrations and by how many tasks were trained on."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Accuracy on unseen tasks by K and by shots, and on the training tasks."""
    accuracy = iclkit.final(cube)["option_accuracy"]
    unseen, known = (accuracy.sel(tasks=name, drop=True) for name in ("unseen", "known"))
    few, many = float(unseen["topics"].min()), float(unseen["topics"].max())
    shots = int(unseen["shots"].max())
    yield Finding(
        claim="Accuracy on unseen tasks rises with the number K of training tasks",
        paper="arXiv 2502.17024, real data: accuracy rises with K; numbers unknown",
        rows=rows(unseen.sel(shots=shots, drop=True), "accuracy on unseen tasks, 8 shots", units="1"),
        holds=bool((unseen.sel(topics=many, shots=shots) > unseen.sel(topics=few, shots=shots)).all()),
        note="8 tasks, the same for every K; a guess is right in 1 of 4",
    )
    yield Finding(
        claim="It rises with the number of demonstrations",
        paper="in-context learning itself; numbers unknown",
        rows=rows(unseen.sel(topics=many, drop=True), f"accuracy on unseen tasks, K = {many:g}", units="1"),
        holds=bool((unseen.sel(topics=many, shots=shots) > unseen.sel(topics=many, shots=0) + 0.1).all()),
    )
    yield Finding(
        claim="Tasks trained on are solved with words they have not shown",
        paper="not in the paper",
        rows=rows(known.sel(shots=shots, drop=True), "accuracy on training tasks, 8 shots", units="1"),
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=('sweep={ seed = [0], "data.topics" = [4, 48] }', "trainer.steps=300"),
    figures=("option-accuracy",),
)
