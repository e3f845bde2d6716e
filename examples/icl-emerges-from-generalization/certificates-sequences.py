"""Fresh sequences of 20 topics at V = 50, T = 256: every estimator beside the held-out one."""

from collections.abc import Iterator

import xarray as xr
from certified import sandwich
from findings import Experiment, Finding, rows

ASKED = "open question of the paper: can its bounds be computed, and are they not vacuous"


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """The held-out certificate, draws between prior and trained weights, codes, and the paper's own rate."""
    held = "With thousands of held-out sequences the certificate is tight"
    yield sandwich(cube, "holdout", held, ASKED, slack=0.02)
    draws = "A prior from half the data certifies the trained model with all of them"
    yield sandwich(cube, "pacbayes", draws, "Theorem 4.3 with a data-dependent prior")
    codes = "The codes of quantised weights give valid bounds, vacuous for 1e5 weights and 2e4 sequences"
    yield sandwich(cube, "compression", codes, "not in the paper")
    literal, strict = (cube[name] for name in ("paper_bound", "strict_paper_bound"))
    yield Finding(
        claim="The paper's rate and its form with every constant",
        paper="Theorem 4.3; the constants of the rate are not given",
        rows=[
            *rows(literal, "rate with constant 1, above the oracle"),
            *rows(strict, "with every constant, above the oracle"),
        ],
        note="the rate is never valid; with every constant it is vacuous above ln 50 = 3.912",
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=(
        "sweep.seed=[0]",
        "source.vocabulary=10",
        "source.concentration=0.3",
        "data.length=64",
        "trainer.steps=100",
        "prior.trainer.steps=300",
        "evaluation.sequences=600",
        "data.sequences=200",
        "prior.data.sequences=100",
        "data.holdout.sequences=100",
    ),
    figures=("sandwich",),
)
