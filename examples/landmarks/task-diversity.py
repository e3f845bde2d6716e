"""Linear regression in context: distance on fresh tasks to ridge and to the predictor that knows the K tasks."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from findings import Experiment, Finding, falls, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Distances on fresh tasks, by K."""
    last = iclkit.final(cube)
    apart = last["squared_error_distance"].sel(split="topics").mean("position")
    ridge, known = apart.sel(reference="population", drop=True), apart.sel(reference="mixture", drop=True)
    finite = ridge["topics"].values[np.isfinite(ridge["topics"].values)]
    few = finite[0]
    yield Finding(
        claim="With more training tasks the model does ridge regression on tasks nobody has seen",
        paper="Raventos et al.: with 8 dimensions the distance to ridge falls to 0 beyond about 2^14 tasks [R]",
        rows=rows(ridge, "squared distance to ridge", units="1", expected="0 for fresh tasks"),
        holds=falls(ridge, "topics") and bool((ridge.sel(topics=few) > 2 * ridge.sel(topics=np.inf)).all()),
        note="on fresh tasks; mean over answers 1 to 8",
    )
    less = (known - ridge).sel(topics=finite)
    yield Finding(
        claim="Few tasks are retrieved: the model is nearer to the discrete MMSE predictor than to ridge",
        paper="Raventos et al.: below the threshold the model is the discrete MMSE predictor [R]",
        rows=[*rows(known.sel(topics=finite), "squared distance to the discrete MMSE", units="1")],
        holds=bool((less.sel(topics=few) < 0).all()),
    )
    if len(finite) > 1:
        yield Finding(
            claim="At an intermediate number of tasks the model leaves the Bayes predictor of its training tasks "
            "and is nearer to ridge",
            paper="Raventos et al.: beyond the threshold it is nearer to ridge, which is not its optimum [R]",
            rows=rows(less, "distance to discrete MMSE less distance to ridge", units="1"),
            holds=bool((less > 0).all("seed").any()),
            note="at one K at least, for every seed; among very many tasks both predictors are nearly the same (first "
            "asked of the largest K, where they are alike here)",
        )
    own = last["squared_error_excess"].sel(split="sequences", topics=finite).mean("position")
    yield Finding(
        claim="On its training tasks a model of few tasks comes near the Bayes predictor of those tasks",
        paper="Raventos et al. [R]",
        rows=rows(own, "squared error above the discrete MMSE, training tasks", units="1"),
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=('sweep={ seed = [0], "data.topics" = [4, "fresh"] }', "trainer.steps=600"),
    figures=("reference-distance",),
)
