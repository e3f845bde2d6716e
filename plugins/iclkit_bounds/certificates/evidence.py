"""From log-probabilities to the losses of independent units, which every bound is a function of."""

import math
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from iclkit.api import Categorical, Listed, LogProbs, MeasuredCell, NotApplicable
from iclkit_bounds import smoothing
from iclkit_bounds.certificates.targets import Target
from iclkit_bounds.smoothing import Smoothed
from iclkit_bounds.units import Array, topic_means


@frozen(kw_only=True, eq=False)
class Evidence:
    """Losses of a certified predictor on independent units, nats per token.

    Parameters
    ----------
    units : float64 (n,), by sequence or by topic.
    smoothed : the losses by sequence, and their range.
    raw : mean loss of the model itself, before smoothing.
    blocks : float64 (n, blocks), by block of positions, each smoothed by itself; (n, 0) where none were asked for.
    block_upper : (blocks,), their largest possible losses.
    kind : what made the losses bounded.

    """

    units: Array
    smoothed: Smoothed
    raw: float
    blocks: Array
    block_upper: Array
    kind: str = "seq_mix"

    @property
    def upper(self) -> float:
        """B."""
        return float(self.smoothed.upper)

    def components(self, weight: float, **further: object) -> dict[str, Any]:
        """Return the parts of a value, for its record; `weight` is that of the fixed predictor."""
        return {
            "emp_loss": float(self.units.mean()),
            "raw_emp_loss": self.raw,
            "range_B": self.upper,
            "smoothing": {
                "kind": self.kind,
                "a": weight,
                "cost": float(self.smoothed.cost),
                "mean_model_weight": float(self.smoothed.model_weight),
            },
            "variance": float(self.units.var(ddof=1)) if len(self.units) > 1 else None,
            **further,
        }


def vocabulary(cell: MeasuredCell) -> int:
    """Return V; raises NotApplicable for real tokens, whose losses have no largest value."""
    space = cell.facts.space
    if not isinstance(space, Categorical):
        raise NotApplicable("the loss of real tokens has no largest value; of the certificates `holdout` clips it")
    return space.size


def evidence(table: LogProbs, target: Target, size: int, weight: float, blocks: int = 0) -> Evidence:
    """Smooth log-probabilities by sequence (and block) and average them over each unit.

    `weight` is that of the uniform predictor. Raises NotApplicable where sequences differ in which positions count.
    """
    values = scored(table)
    sums = values.sum(1)
    mixed = smoothing.seq_mix(sums, values.shape[1], size, weight)
    by_block, block_upper = np.zeros((len(sums), 0)), np.zeros(0)
    if blocks:
        starts = block_starts(values.shape[1], blocks)
        lengths = np.diff([*starts, values.shape[1]])
        pieces = smoothing.block_mix(np.add.reduceat(values, starts, axis=1), lengths, size, weight)
        by_block, block_upper = pieces.losses, np.asarray(pieces.upper)
    return Evidence(
        units=by_unit(mixed.losses, table, target),
        smoothed=mixed,
        raw=-float(sums.mean() / values.shape[1]),
        blocks=by_unit(by_block.T, table, target).T if blocks else by_block,
        block_upper=block_upper,
    )


def by_unit(losses: Array, table: LogProbs, target: Target) -> Array:
    """Average losses (..., sequences) over the sequences of each unit."""
    return topic_means(losses, table.topic.numpy()) if target.unit == "topic" else losses


def scored(table: LogProbs) -> Array:
    """Return the log-probabilities of the positions that are scored, float64 (n, positions)."""
    values = table.values.numpy()
    there = ~np.isnan(values)
    if not len(values) or not there.any():
        raise NotApplicable("no position of any sequence is scored")
    if (there != there[0]).any():
        raise NotApplicable("sequences differ in which positions are scored, so they have no loss range in common")
    return values[:, there[0]]


def on_the_same(table: LogProbs, other: LogProbs) -> Array:
    """Return what another predictor gives the positions that one is scored on, float64 (n, positions).

    An exact predictor knows of position 1 what a model without a begin token does not predict.
    """
    return other.values.numpy()[:, ~table.values[0].isnan().numpy()]


def block_starts(positions: int, blocks: int) -> NDArray[np.int64]:
    """Return where blocks of scored positions begin, from 0; blocks of equal length but for rounding."""
    return np.linspace(0, positions, min(blocks, positions) + 1).round().astype(np.int64)[:-1]


def family_of(cell: MeasuredCell, target: Target) -> Any:
    """Return the topics that a target is about, with their weights; None where they are drawn from P_W."""
    if target.unit == "sequence":
        return cell.known
    return cell.fresh(1) if isinstance(cell.facts.topics, Listed) else None


def measured(losses: Array, table: LogProbs, target: Target, cell: MeasuredCell) -> tuple[float, float]:
    """Return the mean loss of a fresh split's sequences, and its standard error; nats per token.

    Over topics, or for a family of given ones by topic with their weights, as they were sampled (stratified); plainly
    where some topic has no two sequences. `losses` (n,) by sequence.
    """
    topic, family = table.topic.numpy(), family_of(cell, target)
    found, count = np.unique(topic, return_counts=True)
    if family is not None and len(found) == len(family.weights) and count.min() > 1:
        shares, means = family.weights.numpy(), topic_means(losses, topic)
        variances = topic_means((losses - means[np.searchsorted(found, topic)]) ** 2, topic) / (count - 1)
        return float(shares @ means), math.sqrt(float(shares**2 @ variances))
    units = by_unit(losses, table, target)
    error = units.std(ddof=1) / math.sqrt(len(units)) if len(units) > 1 else math.nan
    return float(units.mean()), float(error)
