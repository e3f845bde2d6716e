"""Random linear systems: in-context learning of real vectors, beside the oracle and ridge regression."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows, single
from linear_systems import ridge_above_oracle

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """How the loss above the oracle, which knows W, falls in the context."""
    last = iclkit.final(cube).sel(split="topics")
    above = last["regret"]
    peak, late = above.max("position"), above.isel(position=slice(-4, None)).mean("position")
    ridge = ridge_above_oracle(above.sizes["position"])
    yield Finding(
        claim="Real vectors are learned in context too, by every architecture",
        paper="abstract: whatever the source; no experiment on real vectors is known",
        rows=[
            *rows(peak, "largest loss above the oracle at any position"),
            *rows(late, "loss above the oracle at the last four positions"),
            single("ridge regression on the context, there", float(ridge[-4:].mean())),
        ],
        holds=bool((late < 0.5 * peak).all()),
        note="from a start at 0 the loss rises first, as states grow; no exact optimum is known, ridge is a baseline",
    )
    zero = last["squared_error"].isel(position=slice(-4, None)).mean("position")
    known = last["squared_error_floor"].isel(position=slice(-4, None)).mean("position")
    yield Finding(
        claim="Their squared error comes near to that of what knows the system",
        paper="no number known",
        rows=rows(
            zero,
            "squared error at the last four positions",
            units="1",
            expected=f"{float(known.mean()):.3f} for the oracle",
        ),
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=("sweep.seed=[0]", "trainer.steps=400", "evaluation.sequences=256"),
    figures=("icl-curve",),
)
