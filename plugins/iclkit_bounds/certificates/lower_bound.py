"""Lower limits: the losses of the exact Bayes predictors and of the oracle, which no model can beat on their law."""

import math
from statistics import NormalDist

import numpy as np
import xarray as xr

from iclkit.api import Categorical, Listed, LogProbs, MeasuredCell, NotApplicable
from iclkit_bounds import betting
from iclkit_bounds.certificates.configs import LowerConfig
from iclkit_bounds.certificates.evidence import by_unit, family_of, measured, scored
from iclkit_bounds.certificates.results import along
from iclkit_bounds.certificates.targets import TARGETS, Target
from iclkit_bounds.record import Certificate
from iclkit_bounds.units import Array

REFERENCES = ("oracle", "mixture", "population")


class LowerBound:
    """Lower confidence limits of the optima's population losses, and what they consist of; nats per token.

    On each split of fresh data: the exact Bayes predictor that is optimal there (of the K topics, or of P_W), and the
    oracle, which is lower still. Losses of tokens are not negative, so that the mirrored betting bound gives each
    limit with probability at least 1 - delta; for real tokens it is the normal one, which is marked as not valid.
    `topic_price` is I(W; X)/T, the Bayes loss minus the oracle's on the same sequences, and
    `topic_price_asymptotic` its textbook form k ln(T) / 2T for smooth families of k parameters, NaN where T is too
    short for it.
    """

    def __init__(self, config: LowerConfig):
        self.config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return the limits by split and reference."""
        targets = [target for target in TARGETS.values() if target.fresh in cell.splits]
        if not any(cell.references[target.fresh] for target in targets):
            raise NotApplicable("the source has no exact reference")
        data = [self._of(cell, target) for target in targets]
        return along("split", [target.fresh for target in targets], data)

    def _of(self, cell: MeasuredCell, target: Target) -> xr.Dataset:
        tables: dict[str, LogProbs] = {
            name: cell.log_probs(target.fresh, name)
            for name in ("oracle", target.reference)
            if name in cell.references[target.fresh]
        }
        losses = {name: -scored(table).mean(1) for name, table in tables.items()}
        asymptotic, warning = self._asymptotic(cell, target)
        data = [
            self._limit(cell, target, tables[name], losses[name], warning)
            if name in tables
            else xr.Dataset({"lower_bound": np.nan, "lower_bound_record": ""})
            for name in REFERENCES
        ]
        made = along("reference", list(REFERENCES), data)
        price = (np.nan, np.nan)
        if len(tables) == 2:
            price = measured(losses[target.reference] - losses["oracle"], tables["oracle"], target, cell)
        return made.assign(topic_price=price[0], topic_price_se=price[1], topic_price_asymptotic=asymptotic)

    def _limit(self, cell: MeasuredCell, target: Target, table: LogProbs, losses: Array, warning: str) -> xr.Dataset:
        delta = self.config.delta
        value, error = measured(losses, table, target, cell)
        units, why = _independent(cell, target, table, losses)
        bounded = isinstance(cell.facts.space, Categorical)
        limit = (
            float(betting.lower_limit(units, 0.0, delta))
            if bounded
            else value - NormalDist().inv_cdf(1 - delta) * error
        )
        record = Certificate(
            estimator="lower-bound",
            role="lower_bound",
            target=target.code,
            unit=target.unit,
            n_units=len(units),
            value=limit,
            delta=delta,
            delta_ledger={"units": delta},
            checks={"units_independent": not why},
            reasons={"units_independent": why} if why else {},
            validity_scope="high-prob" if bounded else "asymptotic",
            data_used="fresh",
            certified_object="weights",
            object_hash="",
            components={"emp_loss": value, "se": error, "limit": "betting" if bounded else "normal"},
            warnings=(warning,) if warning else (),
        )
        return xr.Dataset(
            {
                "lower_bound": limit,
                "lower_bound_valid": float(record.valid),
                "lower_bound_estimate": value,
                "lower_bound_estimate_se": error,
                "lower_bound_record": record.to_json(),
            }
        )

    def _asymptotic(self, cell: MeasuredCell, target: Target) -> tuple[float, str]:
        """Return k ln(T) / 2T for fresh topics, or NaN and why it is not to be used."""
        space = cell.facts.space
        if target.unit != "topic" or not isinstance(space, Categorical) or isinstance(cell.facts.topics, Listed):
            return math.nan, ""
        wanted = self.config.parameters or space.size * (space.size - 1)
        if cell.length <= 20 * wanted:
            return math.nan, (
                f"k ln(T) / 2T is not to be used at T = {cell.length}: for k = {wanted} parameters it needs T > "
                f"{20 * wanted}"
            )
        return wanted * math.log(cell.length) / (2 * cell.length), ""


def _independent(cell: MeasuredCell, target: Target, table: LogProbs, losses: Array) -> tuple[Array, str]:
    """Return losses of independent units whose mean is the target, and why not if that cannot be had.

    Of known topics as many sequences each: those with more lose their last ones.
    """
    family = family_of(cell, target)
    if family is None:
        return by_unit(losses, table, target), ""
    found, first, count = np.unique(table.topic.numpy(), return_index=True, return_counts=True)
    if not family.uniform or len(found) < len(family.weights):
        what = "some topics have no sequence" if family.uniform else "topics have unequal weights"
        return losses, f"{what}, so the mean over sequences is no unbiased one"
    return losses[(first[:, None] + np.arange(count.min())).reshape(-1)], ""
