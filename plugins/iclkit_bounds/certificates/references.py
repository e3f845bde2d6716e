"""What a certificate stands between: ln V, the exact optimum, the oracle, and the measured population loss."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from iclkit.api import MeasuredCell, Predictor
from iclkit_bounds import smoothing
from iclkit_bounds.certificates.evidence import measured, on_the_same, scored
from iclkit_bounds.certificates.sequences import table_of
from iclkit_bounds.certificates.targets import Target
from iclkit_bounds.units import Array

Sums = Callable[[str], Array]
"""Log-likelihoods of a certified object on a split's sequences, float64 (n,), before smoothing."""


def of_step(cell: MeasuredCell, step: int) -> Sums:
    """Return what a snapshot's model gives a split."""
    return lambda split: scored(cell.log_probs(split, step)).sum(1)


def of_predictor(cell: MeasuredCell, predictor: Predictor) -> Sums:
    """Return what a predictor that is no snapshot gives a split."""
    return lambda split: scored(table_of(cell, predictor, cell.batches(split))).sum(1)


def references(
    cell: MeasuredCell, target: Target, size: int, weight: float, sums: Sums, length: int | None = None
) -> dict[str, Any]:
    """Return baseline, bayes_lower, oracle and population_mc, for the record; nats per token.

    All are on the fresh data of the split that the target is about, each with its standard error. `weight` is that of
    the uniform predictor, `length` the certified sequences' if it is not the evaluation's: nothing is measured then.
    """
    found: dict[str, Any] = {"baseline": math.log(size)}
    if target.fresh not in cell.splits or length not in (None, cell.length):
        return found

    def losses(split: str) -> Array:
        logs = sums(split)
        positions = scored(cell.log_probs(split, cell.steps[-1])).shape[1]
        return smoothing.seq_mix(logs, positions, size, weight).losses

    return found | measured_references(cell, target, losses)


def measured_references(cell: MeasuredCell, target: Target, losses: Callable[[str], Array]) -> dict[str, Any]:
    """Return bayes_lower, oracle and population_mc on the fresh data of a target.

    `losses`: those of the certified predictor on a split's sequences, float64 (n,), nats per token.
    """
    found: dict[str, Any] = {}
    table = cell.log_probs(target.fresh, cell.steps[-1])  # for its addresses, and which positions count
    for name, reference in (("bayes_lower", target.reference), ("oracle", "oracle")):
        if reference in cell.references[target.fresh]:
            logs = on_the_same(table, cell.log_probs(target.fresh, reference))
            if not np.isnan(logs).any():
                value, error = measured(-logs.mean(1), table, target, cell)
                found[name] = {"value": value, "ci": 1.96 * error}
    value, error = measured(losses(target.fresh), table, target, cell)
    return found | {"population_mc": {"value": value, "se": error}}


def number(references: Mapping[str, Any], name: str, part: str = "value") -> float:
    """Return a part of one of them, NaN where it is not there."""
    return float(references.get(name, {}).get(part, np.nan))
