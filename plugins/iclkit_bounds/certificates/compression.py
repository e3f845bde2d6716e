"""The compression certificate: a network that can be written in few bits pays for the data by its code's length."""

from collections.abc import Mapping

import torch
import xarray as xr
from torch import Tensor

from iclkit.api import Batch, MeasuredCell, Predictor
from iclkit_bounds import compression
from iclkit_bounds.certificates.configs import CompressionConfig
from iclkit_bounds.certificates.evidence import evidence, vocabulary
from iclkit_bounds.certificates.references import of_predictor, references
from iclkit_bounds.certificates.results import SETTINGS, along, by_target, variables, weights_hash, weights_of
from iclkit_bounds.certificates.sequences import Extent, addresses, outside, rows_of, table_of, unit_checks
from iclkit_bounds.certificates.targets import TARGETS, Target
from iclkit_bounds.compression import Quantised
from iclkit_bounds.record import Certificate

_NOTHING = Extent(topics=0, sequences=0)


class CompressionCertificate:
    """Upper bounds on the loss of the last snapshot's quantised networks, from all data that they were trained on.

    The code writes each network's differences from its initial weights, where these are known and no data entered
    them, else the weights themselves; see `compression`. With probability at least 1 - delta over the training units
    all of them, one for each number of bits, have at most these losses. Where there are more sequences than
    `sequences` so many are drawn, with replacement (`subsampled_limit`).
    """

    def __init__(self, config: CompressionConfig):
        self.config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return the certificates, by target and bits; nats per token."""
        size, weights = vocabulary(cell), weights_of(cell, cell.steps[-1])
        start = public_start(cell)
        made = [compression.quantise(weights, bits, start) for bits in self.config.bits]
        codes = [(code, cell.models.with_weights(code.weights)) for code in made]
        return by_target("compression", self.config, lambda target: self._of(cell, target, size, codes))

    def _of(
        self, cell: MeasuredCell, target: Target, size: int, codes: list[tuple[Quantised, Predictor]]
    ) -> xr.Dataset:
        every = outside(cell, _NOTHING, target)  # in order of topic, as many sequences of each
        count = len(every.topic.unique()) if target.unit == "topic" else len(every)
        rows = torch.arange(len(every)).view(count, -1)  # by unit
        if len(every) > self.config.sequences:
            drawn = max(1, self.config.sequences // rows.shape[1])
            rows = rows[cell.key.fold("subsample").integers(count, drawn)]
        data = [self._coded(cell, target, size, code, predictor, every, rows) for code, predictor in codes]
        return along("grid_bits", list(self.config.bits), data)

    def _coded(
        self,
        cell: MeasuredCell,
        target: Target,
        size: int,
        code: Quantised,
        predictor: Predictor,
        every: Batch,
        rows: Tensor,
    ) -> xr.Dataset:
        config = self.config
        table = table_of(cell, predictor, [rows_of(every, rows.reshape(-1))])
        found = evidence(table, TARGETS["sequences"], size, config.smoothing)
        losses = found.units.reshape(rows.shape).mean(1)
        share = config.delta / len(config.bits)
        count, whole = len(every) // rows.shape[1], rows.numel() == len(every)
        if whole:
            value = compression.betting_limit(losses, found.upper, share, code.bits)
        else:
            least = float(found.smoothed.least)
            value = compression.subsampled_limit(losses, count, found.upper, share, code.bits, least)
        checks, reasons = unit_checks(cell, *addresses(cell, every), target)
        record = Certificate(
            estimator="compression",
            target=target.code,
            unit=target.unit,
            n_units=count,
            value=float(value),
            delta=config.delta,
            delta_ledger={"this code": share, "other codes": config.delta - share},
            checks=checks | {"grid_declared": True},
            reasons=reasons,
            data_used="train-only",
            certified_object="weights",
            object_hash=weights_hash(code.weights),
            components=found.components(
                config.smoothing,
                complexity_nats=code.cost,
                evaluated=len(losses),
                variance=float(losses.var(ddof=1)) if len(losses) > 1 else None,
            ),
            references=references(
                cell, target, size, config.smoothing, of_predictor(cell, predictor), table.values.shape[1]
            ),
            cost={"forward_passes": 1},
            warnings=(SETTINGS,),
        )
        return variables("compression", record, cost=code.cost)


def public_start(cell: MeasuredCell) -> Mapping[str, Tensor] | None:
    """Return the initial weights if they are known and no data entered them; None for zeros."""
    return weights_of(cell, 0) if cell.steps[0] == 0 and cell.prior is None else None
