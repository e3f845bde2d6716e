"""The second paper's Theorems 4.3 and 4.6: as they are written, and with every constant."""

import math
from typing import Any

import numpy as np
import xarray as xr

from iclkit.api import Batch, LogProbs, MeasuredCell, NotApplicable
from iclkit_bounds import pacbayes, paper, smoothing, strict
from iclkit_bounds.certificates.configs import PaperConfig
from iclkit_bounds.certificates.evidence import measured, on_the_same, scored, vocabulary
from iclkit_bounds.certificates.posteriors import Posterior, over_draws, posterior
from iclkit_bounds.certificates.results import SETTINGS, by_target, variables, weights_hash
from iclkit_bounds.certificates.sequences import Extent, addresses, finite, outside, table_of, unit_checks
from iclkit_bounds.certificates.targets import Target
from iclkit_bounds.paper import Rate
from iclkit_bounds.record import Certificate
from iclkit_bounds.units import Array

_MEASURED = 4  # draws whose mean loss on fresh data is the measured population loss


class PaperBound:
    """Bounds on the mean loss of weights drawn from N(theta, noise^2 I), above the topic-aware oracle's loss.

    Mode "paper" reads O(.) with a declared constant and is never valid (`paper`); mode "strict" holds with probability
    at least 1 - delta, a quarter of which is spent on the training loss being an estimate over draws (`strict`). The
    divergence is that from N(theta_J, noise^2 I), theta_J the prior's weights; J its data. Values, population and lower
    are nats per token *above the oracle*.
    """

    def __init__(self, config: PaperConfig):
        self.config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return the bounds, by target."""
        size = vocabulary(cell)
        if "oracle" not in cell.facts.references:
            raise NotApplicable("these bounds are on the loss above the oracle's, and there is no oracle")
        law = posterior(cell, cell.steps[-1], 1.0, self.config.noise)
        return by_target("paper_bound", self.config, lambda target: self._of(cell, target, size, law))

    def _of(self, cell: MeasuredCell, target: Target, size: int, law: Posterior) -> xr.Dataset:
        config = self.config
        assert cell.prior is not None
        whole, subset = Extent.of(finite(cell)), Extent.of(cell.prior.data)
        units = outside(cell, subset, target)
        length = int(units.mask[0].sum())
        counts = _counts(target, whole, subset)
        if config.mode == "paper":
            rate, spent = self._literal(target, counts, length, law.divergence), {"bound": config.delta}
            checks, reasons = {"constants_known": rate.valid}, {"constants_known": rate.reason}
        else:
            rate = self._strict(cell, target, counts, length, law, units, size)
            checks, reasons = unit_checks(cell, *addresses(cell, units), target, (subset,))
            checks |= {"prior_frozen_before_eval": True, "mc_error_included": True}
            spent = {"bound": 0.75 * config.delta, "draws": 0.25 * config.delta}
        record = Certificate(
            estimator="paper-bound",
            target=target.code,
            unit=target.unit,
            n_units=len(units.topic.unique()) if target.unit == "topic" else len(units),
            value=rate.value,
            delta=config.delta,
            delta_ledger=spent,
            checks=checks,
            reasons=reasons,
            validity_scope="heuristic" if config.mode == "paper" else "high-prob",
            data_used="train-only",
            certified_object="gibbs",
            object_hash=weights_hash(law.weights(law.mean)),
            components={
                "mode": config.mode,
                "terms": rate.terms,
                "complexity_nats": law.divergence,
                "range_B": math.log(size / config.smoothing),
                "smoothing": {"kind": "token_mix", "a": config.smoothing, "cost": -math.log1p(-config.smoothing)},
            },
            references=self._references(cell, target, size, law, units.length),
            warnings=("nats per token above the topic-aware oracle's loss", SETTINGS),
        )
        ratio = _largest_ratio(cell, target)
        return variables("paper_bound", record, divergence=law.divergence, largest_ratio=ratio)

    def _literal(self, target: Target, counts: dict[str, int], length: int, divergence: float) -> Rate:
        config = self.config
        shared: dict[str, Any] = {"delta": config.delta, "constant": config.constant}
        if target.unit == "sequence":
            return paper.sequences(**counts, length=length, divergence=divergence, **shared)
        held = counts["topics"] - counts["prior_topics"]  # of whose sequences the prior has seen none
        first = paper.sequences(
            topics=held,
            per_topic=counts["per_topic"],
            prior_per_topic=0,
            length=length,
            divergence=divergence,
            **shared,
        )
        return paper.topics(
            topics=counts["topics"],
            prior_topics=counts["prior_topics"],
            prompt_length=length,
            topic_divergence=divergence,
            first=first,
            **shared,
        )

    def _strict(
        self,
        cell: MeasuredCell,
        target: Target,
        counts: dict[str, int],
        length: int,
        law: Posterior,
        units: Batch,
        size: int,
    ) -> Rate:
        config, upper = self.config, math.log(size / self.config.smoothing)
        oracle = cell.source.oracle()

        def excess(table: LogProbs, part: Batch) -> Array:
            truth = scored(table_of(cell, oracle, [part]))
            return np.asarray((_losses(table, size, config.smoothing) + truth.mean(1)).mean())

        draws = over_draws(cell, law, units, target, config.draws, config.passes, excess)
        shared: dict[str, Any] = {
            "excess": float(pacbayes.posterior_mean(draws, upper, config.delta / 4)),
            "largest_ratio": upper,
            "divergence": law.divergence,
            "delta": 0.75 * config.delta,
        }
        if target.unit == "sequence":
            return strict.sequences(**counts, length=length, **shared)
        return strict.topics(**counts, prompt_length=length, **shared)

    def _references(self, cell: MeasuredCell, target: Target, size: int, law: Posterior, length: int) -> dict[str, Any]:
        """Return baseline, bayes_lower and population_mc, each above the oracle's loss on the same fresh sequences."""
        if target.fresh not in cell.splits or length != cell.length:
            return {}
        table = cell.log_probs(target.fresh, cell.steps[-1])  # for its addresses, and which positions count
        oracle = -on_the_same(table, cell.log_probs(target.fresh, "oracle")).mean(1)
        found: dict[str, Any] = {"baseline": math.log(size) - measured(oracle, table, target, cell)[0]}
        if target.reference in cell.references[target.fresh]:
            bayes = -on_the_same(table, cell.log_probs(target.fresh, target.reference)).mean(1)
            value, error = measured(bayes - oracle, table, target, cell)
            found["bayes_lower"] = {"value": value, "ci": 1.96 * error}
        losses = np.zeros(len(oracle))
        for number in range(_MEASURED):
            weights = law.weights(law.draw(cell.key.fold("measured").fold(number)))
            fresh = table_of(cell, cell.models.with_weights(weights), cell.batches(target.fresh))
            losses += _losses(fresh, size, self.config.smoothing) / _MEASURED
        value, error = measured(losses - oracle, table, target, cell)
        return found | {"population_mc": {"value": value, "se": error}}


def _largest_ratio(cell: MeasuredCell, target: Target) -> float:
    """Return the largest log-ratio of the oracle to the trained model on a fresh token: assumed to be bounded, nats."""
    if target.fresh not in cell.splits:
        return math.nan
    table = cell.log_probs(target.fresh, cell.steps[-1])
    return float((on_the_same(table, cell.log_probs(target.fresh, "oracle")) - scored(table)).max())


def _counts(target: Target, whole: Extent, subset: Extent) -> dict[str, int]:
    """Return K, N and K' or N' as the theorems call for them, the last two no more than there is."""
    counts = {"topics": whole.topics, "per_topic": whole.sequences}
    if target.unit == "sequence":
        return counts | {"prior_per_topic": min(subset.sequences, whole.sequences)}
    return counts | {"prior_topics": min(subset.topics, whole.topics)}


def _losses(table: LogProbs, size: int, weight: float) -> Array:
    """Return the mean loss of each sequence, every token's probability mixed with the uniform one; nats per token."""
    return smoothing.token_mix(scored(table), size, weight).losses.mean(1)
