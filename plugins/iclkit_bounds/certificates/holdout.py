"""The held-out certificate: units that no trainer could reach, and a bet against every value the loss might have."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from iclkit.api import Categorical, LogProbs, MeasuredCell
from iclkit_bounds import betting, blocks, concentration, contamination
from iclkit_bounds.certificates.configs import HoldoutConfig
from iclkit_bounds.certificates.evidence import Evidence, block_starts, evidence, scored, vocabulary
from iclkit_bounds.certificates.real_tokens import NOT_BOUNDED, Clip, clip_for, clipped_evidence, clipped_references
from iclkit_bounds.certificates.references import of_step, references
from iclkit_bounds.certificates.results import along, variables, weights_hash, weights_of
from iclkit_bounds.certificates.sequences import reached, unit_checks, unrepeated
from iclkit_bounds.certificates.targets import TARGETS, Target
from iclkit_bounds.record import Certificate

FUNCTIONALS = {
    "betting": betting.upper_limit,
    "floor": betting.floor_limit,
    "kl": concentration.seeger,
    "empirical-bernstein": concentration.empirical_bernstein,
    "maurer-pontil": concentration.maurer_pontil,
    "hoeffding": concentration.hoeffding,
}
NO_LEAST_LOSS = ("betting", "floor")  # those that hold for losses without a lower limit: of real tokens


class HoldoutCertificate:
    """Upper bounds on the loss of the last snapshot, smoothed, from held-out units; see `betting`.

    With probability at least 1 - delta over the held-out units the loss of the certified predictor on fresh sequences
    of the training topics, or on fresh topics, is at most the value. Of its own is the delta of all blocks together,
    of the gain in context, and of each inequality in `holdout_by`: each of these holds by itself, and the record is
    that of the value alone. Where a share `contamination` of what a unit is drawn from may be foreign,
    `holdout_contaminated` holds (`under_total_variation`), on the same event. Sequences that repeat another one,
    or what was trained on, are left out as far as every topic keeps some (`unrepeated`).

    The loss of real tokens is clipped and what that leaves out is added to the bound (`clipping`); it has no lower
    limit, so there are neither blocks nor a correction for contamination.
    """

    def __init__(self, config: HoldoutConfig):
        self.config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return the certificates, by target; nats per token."""
        certify = self._categorical if isinstance(cell.facts.space, Categorical) else self._real
        data = [certify(cell, TARGETS[name], cell.steps[-1]) for name in self.config.targets]
        return along("target", list(self.config.targets), data)

    def _categorical(self, cell: MeasuredCell, target: Target, step: int) -> xr.Dataset:
        config, size = self.config, vocabulary(cell)
        table = unrepeated(cell.log_probs(target.held, step), target, reached(cell))
        found = evidence(table, target, size, config.smoothing, config.blocks)
        known = references(cell, target, size, config.smoothing, of_step(cell, step))
        made = self._bound(cell, target, table, found, known)
        if config.contamination:
            moved = contamination.under_total_variation(made["holdout"].item(), found.upper, config.contamination)
            made = made.assign(holdout_contaminated=float(moved))
        return made.merge(self._blocks(cell, found, target, size, step))

    def _real(self, cell: MeasuredCell, target: Target, step: int) -> xr.Dataset:
        table = cell.log_probs(target.held, step)
        units = len(table.topic.unique()) if target.unit == "topic" else len(table.topic)
        clip = clip_for(cell, target, scored(table).shape[1], units, self.config)
        found = clipped_evidence(cell, target, step, clip)
        known = clipped_references(cell, target, clip, of_step(cell, step))
        return self._bound(cell, target, table, found, known, clip)

    def _bound(
        self,
        cell: MeasuredCell,
        target: Target,
        table: LogProbs,
        found: Evidence,
        known: dict[str, Any],
        clip: Clip | None = None,
    ) -> xr.Dataset:
        """Return the certificate of the whole sequence, of the units in `table`; `clip` is there for real tokens."""
        config, step = self.config, cell.steps[-1]
        left_out = len(cell.log_probs(target.held, step).topic) - len(table.topic)
        kinds = FUNCTIONALS if clip is None else NO_LEAST_LOSS
        excess, spent = (0.0, 0.0) if clip is None else (clip.excess, clip.delta)
        bounds = {
            kind: float(FUNCTIONALS[kind](found.units, found.upper, config.delta - spent)) + excess for kind in kinds
        }
        checks, reasons = unit_checks(cell, table.topic, table.number, target, reached(cell))
        if not cell.declared:
            reasons["eval_untouched"] = "held-out data were served before these settings were on record"
        if clip is not None:
            checks |= {"excess_bounded": clip.certain}
            reasons |= {} if clip.certain else {"excess_bounded": NOT_BOUNDED}
        record = Certificate(
            estimator="holdout",
            target=target.code,
            unit=target.unit,
            n_units=len(found.units),
            value=bounds["betting"],
            delta=config.delta,
            delta_ledger={"units": config.delta - spent} | ({"excess": spent} if spent else {}),
            checks=checks | {"eval_untouched": cell.declared, "grid_declared": True},
            reasons=reasons,
            data_used="holdout",
            certified_object="weights",
            object_hash=weights_hash(weights_of(cell, step)),
            components=found.components(
                config.smoothing,
                **({"left_out": left_out} if left_out else {}),
                **({} if clip is None else clip.components),
            ),
            references=known,
            holdout=bounds["betting"],
            cost={"forward_passes": 1},
            warnings=(*_repeats(left_out), *(() if clip is None else self._not_bounded())),
        )
        made = variables("holdout", record).assign(holdout_by=("functional", list(bounds.values())))
        return made.assign_coords(functional=list(bounds))

    def _not_bounded(self) -> Iterator[str]:
        """Yield what is asked for and is not there for real tokens."""
        if self.config.blocks:
            yield "blocks = 0, and no gain in context: losses of real tokens are clipped over whole sequences only"
        if self.config.contamination:
            yield "no correction for contamination: losses of real tokens have no lower limit"

    def _blocks(self, cell: MeasuredCell, found: Evidence, target: Target, size: int, step: int) -> xr.Dataset:
        """Return the certificates by block of positions, and of the gain from the first block to the last."""
        if not found.block_upper.size:
            return xr.Dataset()
        config = self.config
        limits = blocks.block_limits(found.blocks, found.block_upper, config.delta)
        gain = blocks.paired_gain(found.blocks[:, 0], found.blocks[:, -1], float(found.block_upper[-1]), config.delta)
        population, error = np.full((2, len(limits)), np.nan)
        if target.fresh in cell.splits:
            fresh = evidence(cell.log_probs(target.fresh, step), target, size, config.smoothing, config.blocks).blocks
            population = fresh.mean(0)
            if len(fresh) > 1:
                error = fresh.std(0, ddof=1) / math.sqrt(len(fresh))
        positions = np.flatnonzero(~np.isnan(cell.log_probs(target.held, step).values[0].numpy())) + 1
        return xr.Dataset(
            {
                "holdout_block": ("block", limits),
                "holdout_block_population": ("block", population),
                "holdout_block_population_se": ("block", error),
                "holdout_gain": float(gain),
            },
            coords={"block": positions[block_starts(len(positions), config.blocks)]},
        )


def _repeats(left_out: int) -> Iterator[str]:
    if left_out:
        yield f"{left_out} held-out sequences left out: repeats of others or of what was trained on, topics kept alike"
