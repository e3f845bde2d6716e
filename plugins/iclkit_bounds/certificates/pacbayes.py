"""The PAC-Bayes certificates: weights drawn around a prior that was trained on other data."""

import xarray as xr
from attrs import frozen

from iclkit.api import Batch, LogProbs, MeasuredCell, Predictor
from iclkit_bounds import bernstein, betting, pacbayes
from iclkit_bounds.certificates.configs import PacBayesConfig
from iclkit_bounds.certificates.evidence import Evidence, evidence, vocabulary
from iclkit_bounds.certificates.posteriors import Posterior, over_draws, posterior
from iclkit_bounds.certificates.references import of_predictor, references
from iclkit_bounds.certificates.results import SETTINGS, along, by_target, variables, weights_hash
from iclkit_bounds.certificates.sequences import Extent, outside, table_of, unit_checks
from iclkit_bounds.certificates.targets import TARGETS, Target
from iclkit_bounds.record import Certificate
from iclkit_bounds.units import Array

FUNCTIONALS = ("mcallester", "seeger", "thiemann", "catoni", "centred-bernstein")
_CENTRE = 512  # sequences of the prior's data that the centre is the mean loss of


@frozen(kw_only=True, eq=False)
class Draw:
    """The one draw of a pull: its law, its weights as a predictor, ln dQ/dP there, and a digest of the weights."""

    pull: float
    law: Posterior
    predictor: Predictor
    log_ratio: float
    digest: str


class PacBayesCertificate:
    """Upper bounds on the loss of weights drawn from N(theta_J + pull (theta - theta_J), noise^2 I).

    theta_J are the prior's weights, theta the last snapshot's; the bounds are computed on the training units outside
    the prior's data J. With probability at least 1 - delta over units and draws the single draws of all pulls have at
    most the loss `pacbayes`. `pacbayes_by` bounds the average loss over draws of the last pull, each functional by
    itself, half of its delta spent on the average being an estimate (`gibbs_moments`, `posterior_mean`).
    """

    def __init__(self, config: PacBayesConfig):
        self.config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return the certificates, by target and pull; nats per token."""
        config, size, step = self.config, vocabulary(cell), cell.steps[-1]
        draws = []
        for number, pull in enumerate(config.pulls):
            law = posterior(cell, step, pull, config.noise)
            vector = law.draw(cell.key.fold("single").fold(number))
            weights = law.weights(vector)
            draws.append(
                Draw(
                    pull=pull,
                    law=law,
                    predictor=cell.models.with_weights(weights),
                    log_ratio=law.log_ratio(vector),
                    digest=weights_hash(weights),
                )
            )
        return by_target("pacbayes", config, lambda target: self._of(cell, target, size, draws))

    def _of(self, cell: MeasuredCell, target: Target, size: int, draws: list[Draw]) -> xr.Dataset:
        config = self.config
        assert cell.prior is not None
        units = outside(cell, Extent.of(cell.prior.data), target)
        plain = evidence(
            table_of(cell, cell.models.with_weights(cell.prior.weights), [units]), target, size, config.smoothing
        )
        held = float(betting.upper_limit(plain.units, plain.upper, config.delta))
        data = [self._single(cell, target, size, draw, units, held) for draw in draws]
        bounds = self._gibbs(cell, target, size, draws[-1].law, units, plain)
        made = along("pull", list(config.pulls), data).assign_coords(functional=list(FUNCTIONALS))
        return made.assign(pacbayes_by=("functional", bounds), pacbayes_prior=held)

    def _single(
        self, cell: MeasuredCell, target: Target, size: int, draw: Draw, units: Batch, held: float
    ) -> xr.Dataset:
        config = self.config
        assert cell.prior is not None
        table = table_of(cell, draw.predictor, [units])
        found = evidence(table, target, size, config.smoothing)
        share = config.delta / len(config.pulls)
        checks, reasons = unit_checks(cell, table.topic, table.number, target, (Extent.of(cell.prior.data),))
        record = Certificate(
            estimator="pacbayes",
            target=target.code,
            unit=target.unit,
            n_units=len(found.units),
            value=float(pacbayes.single_draw(found.units, found.upper, share, draw.log_ratio)),
            delta=config.delta,
            delta_ledger={"this pull": share, "other pulls": config.delta - share},
            checks=checks | {"prior_frozen_before_eval": True, "grid_declared": True},
            reasons=reasons,
            data_used="train-only",
            certified_object="draw",
            object_hash=draw.digest,
            components=found.components(
                config.smoothing,
                complexity_nats=max(0.0, draw.log_ratio),
                divergence=draw.law.divergence,
                pull=draw.pull,
                noise=config.noise,
            ),
            references=references(
                cell, target, size, config.smoothing, of_predictor(cell, draw.predictor), table.values.shape[1]
            ),
            holdout=held,
            cost={"forward_passes": 1},
            warnings=(SETTINGS,),
        )
        return variables("pacbayes", record, cost=max(0.0, draw.log_ratio))

    def _gibbs(
        self, cell: MeasuredCell, target: Target, size: int, law: Posterior, units: Batch, plain: Evidence
    ) -> list[float]:
        """Return upper limits of the average loss over draws, by functional; `plain` is that of the prior's weights."""
        config, upper, n = self.config, plain.upper, len(plain.units)

        def losses(table: LogProbs, _: Batch) -> Array:
            return evidence(table, target, size, config.smoothing).units

        found = over_draws(cell, law, units, target, config.draws, config.passes, losses)
        half, divergence = config.delta / 2, law.divergence
        mean = pacbayes.posterior_mean(found.mean(-1), upper, half)
        forms = (pacbayes.mcallester, pacbayes.seeger, pacbayes.thiemann, pacbayes.catoni)
        bounds = [float(form(mean, n, upper, half, divergence)) for form in forms]
        centre, least = _centre(cell, size, config.smoothing), float(plain.smoothed.least)
        both = pacbayes.gibbs_moments(found, centre, upper, centre, half, least)
        spread = both[1] * found.shape[1] / n  # a sum over a part of the units stands for that over all n
        return [*bounds, float(bernstein.from_moments(both[0], spread, 1 / n, upper, centre, half, divergence))]


def _centre(cell: MeasuredCell, size: int, weight: float) -> float:
    """Return the mean loss of the prior's weights on some of its own data, a guess that no other data enter."""
    assert cell.prior is not None
    data = cell.prior.data
    some = data.batch(0, min(_CENTRE, data.count or _CENTRE))
    table = table_of(cell, cell.models.with_weights(cell.prior.weights), [some])
    return float(evidence(table, TARGETS["sequences"], size, weight).units.mean())
