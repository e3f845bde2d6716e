"""Gaussian laws of weights around a prior that was trained on other data, and what their draws say of units."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Batch, Key, LogProbs, MeasuredCell, NotApplicable
from iclkit_bounds import pacbayes
from iclkit_bounds.certificates.results import weights_of
from iclkit_bounds.certificates.sequences import rows_of, table_of
from iclkit_bounds.certificates.targets import Target
from iclkit_bounds.units import Array


@frozen(kw_only=True, eq=False)
class Posterior:
    """N(mean, scale^2 I) beside its prior N(prior, scale^2 I).

    Parameters
    ----------
    prior, mean : float64 (d,).
    scale : standard deviation of every weight.
    like : weights by name, for their shapes.

    """

    prior: Tensor
    mean: Tensor
    scale: float
    like: Mapping[str, Tensor]

    @property
    def divergence(self) -> float:
        """KL from the prior, nats."""
        return pacbayes.gaussian_kl(self.mean, self.prior, self.scale)

    def draw(self, key: Key) -> Tensor:
        """Return a draw by address, float64 (d,)."""
        return pacbayes.draw(self.mean, self.scale, key.normal(len(self.mean)))

    def log_ratio(self, draw: Tensor) -> float:
        """Return ln dQ/dP at a draw, nats."""
        return pacbayes.log_ratio(draw, self.mean, self.prior, self.scale)

    def weights(self, vector: Tensor) -> dict[str, Tensor]:
        """Return a vector as weights by name, rounded to their types: one map for both laws."""
        names = sorted(self.like)
        pieces = vector.split([self.like[name].numel() for name in names])
        return {
            name: piece.view_as(self.like[name]).to(self.like[name].dtype)
            for name, piece in zip(names, pieces, strict=True)
        }


def posterior(cell: MeasuredCell, step: int, pull: float, scale: float) -> Posterior:
    """Return the law centred at theta_J + pull (theta - theta_J), theta the weights of a snapshot.

    Raises NotApplicable without a prior whose weights have the model's shapes.
    """
    trained = weights_of(cell, step)
    start = {} if cell.prior is None else cell.prior.weights
    if any(name not in start or start[name].shape != value.shape for name, value in trained.items()):
        raise NotApplicable("there is no prior whose weights have the shapes of the model's")
    prior = pacbayes.as_vector({name: start[name] for name in trained})
    mean = pacbayes.interpolated(prior, pacbayes.as_vector(trained), pull)
    return Posterior(prior=prior, mean=mean, scale=scale, like=trained)


def over_draws(
    cell: MeasuredCell,
    law: Posterior,
    units: Batch,
    target: Target,
    draws: int,
    passes: int,
    statistic: Callable[[LogProbs, Batch], Array],
) -> Array:
    """Return a statistic of so many draws, (draws, ...), each from a random part of the units.

    The parts are of equal size and drawn by address, so that all draws together cost about `passes` forward passes
    over the units, and a statistic that averages over units is unbiased for the average over all of them.
    """
    topic = units.topic.numpy()
    rows = np.argsort(topic, kind="stable").reshape(len(np.unique(topic)), -1)  # as many sequences of each topic
    if target.unit == "sequence":
        rows = rows.reshape(-1, 1)
    size = min(len(rows), max(2, -(-len(rows) * passes // draws)))
    found = []
    for number in range(draws):
        key = cell.key.fold("posterior").fold(number)
        chosen = key.fold("units").uniform(len(rows)).argsort()[:size].numpy()
        part = rows_of(units, torch.from_numpy(rows[chosen].reshape(-1)))
        predictor = cell.models.with_weights(law.weights(law.draw(key.fold("weights"))))
        found.append(statistic(table_of(cell, predictor, [part]), part))
    return np.stack(found)
