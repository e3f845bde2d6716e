"""The path certificate: the last weights of a noisy training pay for its data by their path's likelihood ratio."""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch.nn import Module

from iclkit.api import LogProbs, MeasuredCell, NotApplicable
from iclkit_bounds import betting, langevin
from iclkit_bounds.certificates.configs import LangevinPathConfig
from iclkit_bounds.certificates.evidence import evidence, vocabulary
from iclkit_bounds.certificates.references import of_step, references
from iclkit_bounds.certificates.results import SETTINGS, by_target, variables, weights_hash, weights_of
from iclkit_bounds.certificates.sequences import Extent, finite, outside, table_of, unit_checks
from iclkit_bounds.certificates.targets import Target
from iclkit_bounds.record import Certificate


class LangevinPathCertificate:
    """Upper bounds on the loss of the last snapshot of a `langevin` training, from data that it was trained on.

    The prior is the law of the same noisy descent on the subset J alone; the bound is computed on the units outside
    J, at the cost of the path's exact log likelihood ratio; see `langevin`. With probability at least 1 - delta over
    those units and the noise the certified predictor's loss is at most the value.
    """

    def __init__(self, config: LangevinPathConfig):
        self.config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return the certificates, by target; nats per token."""
        size, step = vocabulary(cell), cell.steps[-1]
        sums = path_sums(cell, step)
        return by_target("langevin_path", self.config, lambda target: self._of(cell, target, size, step, sums))

    def _of(self, cell: MeasuredCell, target: Target, size: int, step: int, sums: tuple[float, float]) -> xr.Dataset:
        config = self.config
        table = table_of(cell, cell.models[step], [outside(cell, path_subset(cell), target)])
        found = evidence(table, target, size, config.smoothing)
        value = float(langevin.upper_limit(found.units, found.upper, config.delta, *sums))
        checks, reasons = _checks(cell, table, target, step)
        record = Certificate(
            estimator="langevin-path",
            target=target.code,
            unit=target.unit,
            n_units=len(found.units),
            value=value,
            delta=config.delta,
            delta_ledger={"units and noise": config.delta},
            checks=checks,
            reasons=reasons,
            data_used="train-only",
            certified_object="weights",
            object_hash=weights_hash(weights_of(cell, step)),
            components=found.components(
                config.smoothing,
                complexity_nats=float(langevin.path_cost(*sums)),
                path_kl=sums[0],
                path_noise=sums[1],
            ),
            references=references(cell, target, size, config.smoothing, of_step(cell, step), table.values.shape[1]),
            holdout=self._held_out(cell, target, size, step),
            cost={"forward_passes": 1, "extra_gradients": step},
            warnings=(SETTINGS,),
        )
        return variables("langevin_path", record, cost=float(langevin.path_cost(*sums)))

    def _held_out(self, cell: MeasuredCell, target: Target, size: int, step: int) -> float | None:
        """Return the plain held-out bound of the same weights, if it is asked for."""
        if not self.config.compare:
            return None
        held = evidence(cell.log_probs(target.held, step), target, size, self.config.smoothing)
        return float(betting.upper_limit(held.units, held.upper, self.config.delta))


def path_sums(cell: MeasuredCell, step: int) -> tuple[float, float]:
    """Return the path's two sums up to a snapshot, from the record of the update that led to it; nats."""
    if step == 0:
        return 0.0, 0.0
    found = np.flatnonzero(cell.history["step"] == step - 1) if "path_kl" in cell.history else np.zeros(0, np.int64)
    if len(found) != 1:
        raise NotApplicable(f"the training has no record of its path up to step {step}")
    return float(cell.history["path_kl"][found[0]]), float(cell.history["path_noise"][found[0]])


def path_subset(cell: MeasuredCell) -> Extent:
    """Return the extent of J: the trainer's own subset, else what the prior was trained on.

    Raises NotApplicable where J is all data: the ratio is 1, and nothing is left to compute a bound on.
    """
    topics, sequences = (getattr(cell.trainer, f"subset_{of}", None) for of in ("topics", "sequences"))
    if topics is not None or sequences is not None:
        return Extent.of(finite(cell).subset(topics, sequences))
    if cell.prior is None:
        raise NotApplicable("J is all data; give trainer.subset_topics or trainer.subset_sequences, or a table [prior]")
    return Extent.of(cell.prior.data)


def _checks(cell: MeasuredCell, table: LogProbs, target: Target, step: int) -> tuple[dict[str, bool], dict[str, Any]]:
    """Return the preconditions about units, prior and path."""
    checks, reasons = unit_checks(cell, table.topic, table.number, target, (path_subset(cell),))
    frozen = cell.prior is None or not Extent.of(cell.prior.data).meets(target, table.topic, table.number)
    if not frozen:
        reasons["prior_frozen_before_eval"] = "the start weights were trained on units that the bound is computed on"
    exact = _same_buffers(cell.models[step].module, cell.models.with_weights({}).module)
    if not exact:
        reasons["kernel_exact"] = "the model keeps statistics of the data in buffers, for which its path does not pay"
    return checks | {"prior_frozen_before_eval": frozen, "kernel_exact": exact}, reasons


def _same_buffers(trained: Module, built: Module) -> bool:
    """Whether nothing but the parameters, whose path is paid for, has changed in training."""
    before = dict(built.named_buffers())
    return all(torch.equal(value.cpu(), before[name].cpu()) for name, value in trained.named_buffers())
