"""The bracket of the optimisation error at the start, halfway and at the end of training."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Lower and upper limits by step, for networks of 16-bit weights."""
    upper, lower = cube["optimisation_error"].sel(bits=16), cube["optimisation_error_lower"]
    steps = upper["step"].values
    shown = [int(steps[0]), int(steps[len(steps) // 2]), int(steps[-1])]
    valid = bool((cube["optimisation_error_valid"].sel(bits=16) == 1).all())
    known = upper.notnull()
    yield Finding(
        claim="The optimisation error can be bracketed during training",
        paper="left open (appendix G.2.1)",
        rows=[
            *rows(lower.sel(step=shown), "lower limit"),
            *rows(upper.sel(step=shown), "upper limit, probability .95"),
            *rows(cube["optimisation_error_allowance"].sel(bits=16), "of which allowance for memorising"),
        ],
        holds=valid and bool((lower <= upper).where(known, True).all()),
        note="the upper limit holds the price of inferring the topic, which no network escapes",
    )
    first, last = upper.isel(step=0), upper.isel(step=-1)
    yield Finding(
        claim="Training closes the bracket",
        paper="a faster training has a smaller optimisation error",
        rows=rows(last / first, "upper limit at the end, relative to the start", units="1"),
        note="no, it falls by a tenth or less: what stays is the allowance and the price of inferring the topic",
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=("sweep.seed=[0]", 'sweep."trainer.learning_rate"=[1e-2]', "trainer.steps=400", "data.topics=256"),
)
