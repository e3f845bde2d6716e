"""The token bound: the loss over the training prefixes, where it can be computed as well; a consistency check."""

import math

import numpy as np
import xarray as xr
from attrs import frozen

from iclkit.api import Batch, MeasuredCell, Predictor
from iclkit_bounds import compression, hellinger
from iclkit_bounds.certificates.compression import public_start
from iclkit_bounds.certificates.configs import TokenConfig
from iclkit_bounds.certificates.evidence import vocabulary
from iclkit_bounds.certificates.results import SETTINGS, variables, weights_hash, weights_of
from iclkit_bounds.certificates.sequences import all_distinct, sample
from iclkit_bounds.certificates.token_mixing import tokens
from iclkit_bounds.compression import Quantised
from iclkit_bounds.record import Certificate
from iclkit_bounds.units import Array


@frozen(kw_only=True, eq=False)
class Prefixes:
    """What the bounds need of m tokens, float64 (m,): log-ratios, losses, predictive entropies; exact means, nats."""

    log_ratios: Array
    losses: Array
    entropies: Array
    exact: float
    entropy: float


class TokenBound:
    """Upper bounds on the smoothed, quantised network's mean loss over training prefixes, each token in expectation.

    With probability at least 1 - delta over the training tokens, each functional by itself: `token_bound` from squared
    Hellinger distances (`hellinger`), and beside it, in `token_bound_by`, Azuma's and the centred Bernstein bound
    (`compression`). `token_bound_population` is the same loss computed exactly: no bound may lie below it but with
    probability delta. It is no loss on fresh data.
    """

    def __init__(self, config: TokenConfig):
        self.config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return the bound, its record, and the exact value."""
        config, size = self.config, vocabulary(cell)
        parts = sample(cell, config.sequences)
        code = compression.quantise(weights_of(cell, cell.steps[-1]), config.bits, public_start(cell))
        found = self._prefixes(cell, cell.models.with_weights(code.weights), parts, size)
        bounds = self._bounds(found, size, code)
        different = all_distinct(cell, parts)
        record = Certificate(
            estimator="token-bound",
            target="tok",
            unit="token",
            n_units=len(found.losses),
            value=bounds["hellinger"],
            delta=config.delta,
            delta_ledger={"tokens": config.delta},
            checks={"sequences_distinct": different, "grid_declared": True},
            reasons={} if different else {"sequences_distinct": "some sequences are the same data under two numbers"},
            data_used="train-only",
            certified_object="weights",
            object_hash=weights_hash(code.weights),
            components={
                "emp_loss": float(found.losses.mean()),
                "range_B": math.log(size / config.smoothing),
                "smoothing": {"kind": "token_mix", "a": config.smoothing, "cost": -math.log1p(-config.smoothing)},
                "complexity_nats": code.cost,
            },
            references={
                "baseline": math.log(size),
                "bayes_lower": {"value": found.entropy, "ci": 0.0},
                "population_mc": {"value": found.exact, "se": 0.0},
            },
            cost={"forward_passes": 1},
            warnings=("about the training prefixes, not about fresh sequences", SETTINGS),
        )
        made = variables("token_bound", record).assign(token_bound_by=("functional", list(bounds.values())))
        return made.assign_coords(functional=list(bounds))

    def _prefixes(self, cell: MeasuredCell, predictor: Predictor, parts: list[Batch], size: int) -> Prefixes:
        ratios, losses, entropies, exact, entropy = [], [], [], 0.0, 0.0
        for piece in tokens(cell, predictor, parts, size, self.config.smoothing):
            own, count = piece.own(piece.model), len(piece.token)
            ratios.append(piece.own(piece.truth) - own)
            losses.append(-own)
            entropies.append(-(np.exp(piece.model) * piece.model).sum(-1))
            exact += hellinger.exact_loss(piece.truth, piece.model) * count
            entropy += hellinger.exact_loss(piece.truth, piece.truth) * count
        every = sum(map(len, losses))
        return Prefixes(
            log_ratios=np.concatenate(ratios),
            losses=np.concatenate(losses),
            entropies=np.concatenate(entropies),
            exact=exact / every,
            entropy=entropy / every,
        )

    def _bounds(self, found: Prefixes, size: int, code: Quantised) -> dict[str, float]:
        """Return the bounds by functional, none above the largest loss."""
        delta, weight = self.config.delta, self.config.smoothing
        upper, least = math.log(size / weight), -math.log1p(-weight + weight / size)
        above = hellinger.token_kl_limit(found.log_ratios, delta, upper, code.cost)
        centres = np.clip(found.entropies, least, None)
        return {
            "hellinger": min(found.entropy + above, upper),
            "azuma": float(compression.azuma_limit(found.losses, upper, delta, code.bits, least)),
            "centred-bernstein": float(
                compression.centred_limit(found.losses, centres, upper, least, delta, code.bits)
            ),
        }
