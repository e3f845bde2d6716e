"""The optimisation error from both sides, at every snapshot: how far a training is from its architecture's best fit."""

import math

import numpy as np
import xarray as xr

from iclkit.api import MeasuredCell, NotApplicable
from iclkit_bounds import optimisation
from iclkit_bounds.certificates.configs import OptimisationConfig
from iclkit_bounds.certificates.evidence import scored, vocabulary
from iclkit_bounds.certificates.results import along, variables, weights_hash, weights_of
from iclkit_bounds.certificates.sequences import all_distinct, sample, table_of
from iclkit_bounds.record import Certificate


class OptimisationError:
    """A bracket of L(theta) - min L over the architecture, empirical losses on (a sample of) the training data.

    With probability at least 1 - delta over those data, for all snapshots and numbers of bits together: the upper
    limit is the loss above the oracle's on the same data plus an allowance for networks that have memorised; the lower
    one, which is certain, the loss above the least that any snapshot has. See `optimisation`.
    """

    def __init__(self, config: OptimisationConfig):
        self.config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return the bracket by step and bits; nats per token."""
        vocabulary(cell)
        if "oracle" not in cell.facts.references:
            raise NotApplicable("without an oracle nothing is known of the least loss")
        parts = sample(cell, self.config.sequences)
        oracle = scored(table_of(cell, cell.source.oracle(), parts))
        losses = np.array([-scored(table_of(cell, cell.models[step], parts)).mean() for step in cell.steps])
        distinct = all_distinct(cell, parts)
        data = [self._with(cell, bits, losses, oracle, distinct) for bits in self.config.bits]
        made = along("bits", list(self.config.bits), data).assign_coords(step=list(cell.steps))
        made = made.drop_vars([f"optimisation_error_{end}" for end in ("share", "population", "population_se")])
        return made.assign(
            optimisation_error_lower=("step", losses - losses.min()),
            optimisation_error_loss=("step", losses),
            optimisation_error_oracle=-float(oracle.mean()),
        )

    def _with(
        self, cell: MeasuredCell, bits: int, losses: np.ndarray, oracle: np.ndarray, distinct: bool
    ) -> xr.Dataset:
        weights = weights_of(cell, cell.steps[-1])
        parameters = sum(value.numel() for value in weights.values())
        share, truth = self.config.delta / len(self.config.bits), -float(oracle.mean())
        brackets = [
            optimisation.optimisation_error(
                loss=float(loss),
                best_found=float(losses.min()),
                oracle=truth,
                parameters=parameters,
                bits=bits,
                tokens=oracle.size,
                delta=share,
            )
            for loss in losses
        ]
        room, reasons = brackets[0].allowance, {}
        if not distinct:
            reasons["sequences_distinct"] = "some sequences are the same data under two numbers"
        if bits >= 32 and losses.min() < truth - room:  # fewer bits do not cover the networks themselves
            reasons["no_leak"] = "the training loss is below the oracle's by more than memory allows: data leaked"
        record = Certificate(
            estimator="optimisation-error",
            target="tok",
            unit="sequence",
            n_units=len(oracle),
            value=brackets[-1].upper,
            delta=self.config.delta,
            delta_ledger={"these bits": share, "other bits": self.config.delta - share},
            checks={name: name not in reasons for name in ("sequences_distinct", "no_leak")},
            reasons=reasons,
            data_used="train-only",
            certified_object="weights",
            object_hash=weights_hash(weights),
            components={
                "emp_loss": float(losses[-1]),
                "oracle": truth,
                "best_found": float(losses.min()),
                "allowance": room,
                "bits": bits,
                "complexity_nats": bits * parameters * math.log(2),
                "tokens": oracle.size,
            },
            warnings=(f"empirical losses on {len(oracle)} training sequences",),
        )
        made = variables("optimisation_error", record).drop_vars("optimisation_error")
        return made.assign(
            optimisation_error=("step", [bracket.upper for bracket in brackets]), optimisation_error_allowance=room
        )
