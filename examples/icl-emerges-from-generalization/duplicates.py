"""What repeated sequences do to the gap, to the divergence from a prior, and to certificates."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, falls, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """By the fraction of repeated sequences."""
    last = iclkit.final(cube)
    gap = last["sequence_gap"].sel(first_position=1)
    yield Finding(
        claim="The more sequences repeat others, the wider is the gap between training sequences and new ones",
        paper="sequences are taken as independent; deduplication is called for, no number known",
        rows=[
            *rows(gap, "sequence gap"),
            *rows(cube["paper_bound_divergence"], "divergence of the trained weights from the prior"),
        ],
        holds=falls(-gap, "duplicates", ends_only=False),
        note="at equal steps; the divergence, which the paper's bound is made of, hardly tells",
    )
    value, population, error = (cube[f"holdout{end}"] for end in ("", "_population", "_population_se"))
    valid = cube["holdout_valid"] == 1
    yield Finding(
        claim="A certificate that counts each sequence once, and none that training has seen, stays valid",
        paper="not told",
        rows=[*rows(population, "population loss"), *rows(value, "held-out certificate")],
        holds=bool((valid & (value >= population - 4 * error)).all()),
        note="which sequence repeats which is known by number, so that leaving repeats out is no choice by content",
    )
    naive, refused = cube["pacbayes"], cube["pacbayes_valid"] == 0
    yield Finding(
        claim="With repeats among its units a certificate is no bound, and is told to be none",
        paper="not told",
        rows=[
            *rows(naive, "PAC-Bayes certificate on the training sequences outside the prior's"),
            *rows(naive - cube["pacbayes_population"], "the same less the population loss"),
        ],
        holds=bool((refused == (cube["duplicates"] > 0)).all()),
        note="valid without repeats, refused with any",
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=("sweep.seed=[0]", 'sweep."source.duplicates"=[0.0, 0.75]', "trainer.steps=300", "prior.trainer.steps=150"),
)
