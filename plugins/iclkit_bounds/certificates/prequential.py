"""The prequential certificate: what was scored between two snapshots before it was trained on."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
import xarray as xr
from attrs import frozen

from iclkit.api import Batch, Drawn, Listed, MeasuredCell, NotApplicable
from iclkit_bounds import prequential
from iclkit_bounds.certificates.configs import PrequentialConfig
from iclkit_bounds.certificates.evidence import Evidence, evidence, scored, vocabulary
from iclkit_bounds.certificates.references import Sums, references
from iclkit_bounds.certificates.results import along, variables, weights_hash, weights_of
from iclkit_bounds.certificates.sequences import Extent, all_distinct, batches, rows_of, table_of
from iclkit_bounds.certificates.targets import TARGETS
from iclkit_bounds.record import Certificate
from iclkit_bounds.units import Array


@frozen(kw_only=True)
class Stage:
    """The updates from one snapshot to the next, and how many of their sequences are scored."""

    start: int
    end: int
    scored: int


class PrequentialCertificate:
    """An upper bound on the loss of a mixture of snapshots, from sequences that each was scored on before training.

    With probability at least 1 - delta over the training's data and randomness, the mixture of the snapshots of the
    last `share` of the training, by the sequences trained on until the next one, has at most this loss when smoothed.
    """

    def __init__(self, config: PrequentialConfig):
        self.config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return the certificate of the one target that the data allow; nats per token."""
        config = self.config
        size = vocabulary(cell)
        batch_size, _ = batches(cell)
        stages = scored_stages(cell.steps, batch_size, config.share, config.sequences)
        shares = np.array([stage.end - stage.start for stage in stages], np.float64)
        shares /= shares.sum()
        name = _target(cell)
        target = TARGETS[name]
        tables = [table_of(cell, cell.models[one.start], _sequences(cell, one, batch_size)) for one in stages]
        scores = [evidence(table, TARGETS["sequences"], size, config.smoothing) for table in tables]
        upper = scores[0].upper
        value = prequential.staged([one.units for one in scores], upper, config.least_loss, config.delta, shares)
        topic, number = (torch.cat([getattr(table, of) for table in tables]) for of in ("topic", "number"))
        reasons = _why_not(cell, name, topic, number)
        record = Certificate(
            estimator="prequential",
            target=target.code,
            unit="sequence" if isinstance(cell.facts.topics, Listed) else target.unit,
            n_units=sum(stage.scored for stage in stages),
            value=float(value),
            delta=config.delta,
            delta_ledger={"units": config.delta},
            checks={check: check not in reasons for check in ("one_pass", "units_independent", "grid_declared")},
            reasons=reasons,
            data_used="train-only",
            certified_object="checkpoint-mixture",
            object_hash=weights_hash({str(s.start): _flat(cell, s.start) for s in stages}),
            components=_components(scores, shares, config),
            references=references(
                cell, target, size, config.smoothing, _mixture(cell, stages, shares), tables[0].values.shape[1]
            ),
            cost={"forward_passes": 1},
        )
        steps = [stage.start for stage in stages]
        made = variables("prequential", record).assign(prequential_weight=("step", shares)).assign_coords(step=steps)
        return along("target", [name], [made])


def scored_stages(steps: tuple[int, ...], size: int, share: float, most: int) -> list[Stage]:
    """Return the stages of the last `share` of a training, and spread about `most` scored sequences over them.

    Raises NotApplicable where no snapshot but the last lies there.
    """
    first = (1 - share) * steps[-1] - 1e-9
    ends = [(start, end) for start, end in pairwise(steps) if start >= first]
    if not ends:
        raise NotApplicable(f"no snapshot but the last lies in the last {share:.0%} of the training")
    updates = steps[-1] - ends[0][0]
    return [
        Stage(
            start=start,
            end=end,
            scored=min((end - start) * size, max(1, round(most * (end - start) / updates))),
        )
        for start, end in ends
    ]


def _sequences(cell: MeasuredCell, stage: Stage, size: int) -> list[Batch]:
    """Return the scored sequences of a stage, spread evenly over the order in which they were trained on."""
    assert cell.training is not None
    count = (stage.end - stage.start) * size
    units = stage.start * size + torch.arange(stage.scored) * count // stage.scored
    found = []
    for step in units.div(size, rounding_mode="floor").unique().tolist():
        rows = units[(units >= step * size) & (units < (step + 1) * size)] - step * size
        found.append(rows_of(cell.training.batch(step, size), rows))
    return found


def _target(cell: MeasuredCell) -> str:
    """Return what the training's units are draws from: fresh topics, or fresh sequences of the known ones."""
    assert cell.training is not None
    return "topics" if cell.known is None or _one_of_each(cell) else "sequences"


def _one_of_each(cell: MeasuredCell) -> bool:
    """Whether training has one sequence of each of its topics, which were drawn at random."""
    assert cell.training is not None
    known = cell.training.weights
    return known is not None and cell.training.count == len(known) and isinstance(cell.facts.topics, Drawn)


def _why_not(cell: MeasuredCell, name: str, topic: torch.Tensor, number: torch.Tensor) -> dict[str, str]:
    """Return which preconditions the scored sequences break, and why."""
    training = cell.training
    told: dict[str, str] = {}
    assert training is not None
    size, steps = batches(cell)
    if training.count is not None and size * steps > training.count:
        told["one_pass"] = "sequences came back: each must be scored before it is trained on"
    elif cell.prior is not None and Extent.of(cell.prior.data).meets(TARGETS[name], topic, number):
        told["one_pass"] = "the prior was trained on some of these data before"
    elif hasattr(cell.source, "alias") and not all_distinct(
        cell, (training.batch(step, size) for step in range(steps))
    ):
        told["one_pass"] = "some sequences are the same data under two numbers"
    if training.count is not None and not _one_of_each(cell):
        told["units_independent"] = "topics run out, N sequences each, so a topic's chance depends on those before it"
    elif training.weights is None and steps > 1 and (training.batch(1, size).number > 1).any():
        told["units_independent"] = "topics come back with other sequences, so a topic was seen before it is scored"
    return told


def _mixture(cell: MeasuredCell, stages: list[Stage], shares: Array) -> Sums:
    """Return what the mixture of the stages' snapshots gives a split."""

    def sums(split: str) -> Array:
        each = [scored(cell.log_probs(split, stage.start)).sum(1) for stage in stages]
        return prequential.mixture_log_likelihood(each, shares)

    return sums


def _components(scores: list[Evidence], shares: Array, config: PrequentialConfig) -> dict[str, Any]:
    parts = scores[-1].components(config.smoothing)
    kept = sum(share * float(one.smoothed.model_weight) for share, one in zip(shares, scores, strict=True))
    units = np.concatenate([one.units for one in scores])
    parts |= {
        "smoothing": parts["smoothing"] | {"mean_model_weight": kept},
        "variance": float(units.var(ddof=1)) if len(units) > 1 else None,
        "emp_loss": float(sum(share * one.units.mean() for share, one in zip(shares, scores, strict=True))),
        "raw_emp_loss": float(sum(share * one.raw for share, one in zip(shares, scores, strict=True))),
        "least_centre": config.least_loss,
        "stages": len(scores),
    }
    return parts


def _flat(cell: MeasuredCell, step: int) -> torch.Tensor:
    weights = weights_of(cell, step)
    return torch.cat([weights[name].reshape(-1).float() for name in sorted(weights)])
