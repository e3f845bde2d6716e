"""The held-out certificate: units that no trainer could reach, and a bet against every value the loss might have."""

import numpy as np
import xarray as xr

from iclkit.api import MeasuredCell
from iclkit_bounds import betting, blocks, concentration, contamination
from iclkit_bounds.certificates.configs import HoldoutConfig
from iclkit_bounds.certificates.evidence import Evidence, block_starts, evidence, vocabulary
from iclkit_bounds.certificates.references import of_step, references
from iclkit_bounds.certificates.results import along, variables, weights_hash, weights_of
from iclkit_bounds.certificates.sequences import unit_checks
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


class HoldoutCertificate:
    """Upper bounds on the loss of the last snapshot, smoothed, from held-out units; see `betting`.

    With probability at least 1 - delta over the held-out units the loss of the certified predictor on fresh sequences
    of the training topics, or on fresh topics, is at most the value. Blocks share a delta of their own, and so does
    the gain in context: each statement holds by itself, and the record says what it spends. Where a share
    `contamination` of what a unit is drawn from may be foreign, `holdout_contaminated` holds (`under_total_variation`).
    """

    def __init__(self, config: HoldoutConfig):
        self.config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return the certificates, by target; nats per token."""
        size, step = vocabulary(cell), cell.steps[-1]
        data = [self._of(cell, TARGETS[name], size, step) for name in self.config.targets]
        return along("target", list(self.config.targets), data)

    def _of(self, cell: MeasuredCell, target: Target, size: int, step: int) -> xr.Dataset:
        config = self.config
        table = cell.log_probs(target.held, step)
        found = evidence(table, target, size, config.smoothing, config.blocks)
        bounds = {kind: float(bound(found.units, found.upper, config.delta)) for kind, bound in FUNCTIONALS.items()}
        checks, reasons = unit_checks(cell, table.topic, table.number, target)
        if not cell.declared:
            reasons["eval_untouched"] = "held-out data were served before these settings were on record"
        record = Certificate(
            estimator="holdout",
            target=target.code,
            unit=target.unit,
            n_units=len(found.units),
            value=bounds["betting"],
            delta=config.delta,
            delta_ledger={"units": config.delta},
            checks=checks | {"split_disjoint": True, "eval_untouched": cell.declared, "grid_declared": True},
            reasons=reasons,
            data_used="holdout",
            certified_object="weights",
            object_hash=weights_hash(weights_of(cell, step)),
            components=found.components(config.smoothing),
            references=references(cell, target, size, config.smoothing, of_step(cell, step)),
            holdout=bounds["betting"],
            cost={"forward_passes": 1},
        )
        made = variables("holdout", record).assign(holdout_by=("functional", list(bounds.values())))
        if config.contamination:
            moved = contamination.under_total_variation(record.value, found.upper, config.contamination)
            made = made.assign(holdout_contaminated=float(moved))
        return made.assign_coords(functional=list(bounds)).merge(self._blocks(cell, found, target, size, step))

    def _blocks(self, cell: MeasuredCell, found: Evidence, target: Target, size: int, step: int) -> xr.Dataset:
        """Return the certificates by block of positions, and of the gain from the first block to the last."""
        if not found.block_upper.size:
            return xr.Dataset()
        config = self.config
        limits = blocks.block_limits(found.blocks, found.block_upper, config.delta)
        gain = blocks.paired_gain(found.blocks[:, 0], found.blocks[:, -1], float(found.block_upper[-1]), config.delta)
        population = np.full(len(limits), np.nan)
        if target.fresh in cell.splits:
            fresh = evidence(cell.log_probs(target.fresh, step), target, size, config.smoothing, config.blocks)
            population = fresh.blocks.mean(0)
        positions = np.flatnonzero(~np.isnan(cell.log_probs(target.held, step).values[0].numpy())) + 1
        return xr.Dataset(
            {
                "holdout_block": ("block", limits),
                "holdout_block_population": ("block", population),
                "holdout_gain": float(gain),
            },
            coords={"block": positions[block_starts(len(positions), config.blocks)]},
        )
