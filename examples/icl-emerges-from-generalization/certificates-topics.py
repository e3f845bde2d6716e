"""Fresh topics at V = 50, T = 256, by the number of held-out topics."""

from collections.abc import Iterator

import xarray as xr
from certified import gain, informative, sandwich
from findings import Experiment, Finding

ASKED = "open question of the paper: can its bounds be computed, and are they not vacuous"


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """The sandwich with many held-out topics and with 20, and by position."""
    counts = cube["topics"].values
    many = cube.sel(topics=counts[counts >= 300])
    yield sandwich(many, "holdout", "With hundreds of held-out topics the certificate is tight", ASKED, slack=0.05)
    few = cube.sel(topics=counts[counts < 300])
    finding = sandwich(few, "holdout", "Twenty held-out topics certify most of what there is to learn", ASKED)
    yield Finding(
        claim=finding.claim,
        paper=finding.paper,
        rows=finding.rows,
        holds=finding.holds and informative(few, "holdout", 0.6),
        note=finding.note,
    )
    yield gain(many)


EXPERIMENT = Experiment(
    measure=measure,
    reduced=(
        "sweep.seed=[0]",
        'sweep."data.holdout.topics"=[20,300]',
        "source.vocabulary=20",
        "source.concentration=0.1",
        "data.length=128",
        "trainer.steps=500",
        "evaluation.sequences=300",
    ),
    figures=("sandwich",),
)
