"""Least squares and ridge on the prefix: baselines to compare with, never floors."""

from typing import Protocol

import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Batch, GaussianDistribution
from iclkit_sources.linear.prefix_regression import Pairs, predict


class Fit(Protocol):
    """How to predict an output from the pairs before it."""

    def __call__(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Return a prediction (B, n, p) of each output from its input and the pairs before, float64."""
        ...


@frozen
class Ridge:
    """The map that minimises squared error + alpha * squared entries."""

    alpha: float

    def __call__(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Return a prediction (B, n, p) of each output."""
        return predict(inputs, outputs, prior=self.alpha**-0.5, noise=1.0)[0]


@frozen
class LeastSquares:
    """The smallest map among those of least squared error."""

    def __call__(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Return a prediction (B, n, p) of each output; 0 before the first pair."""
        made = torch.zeros_like(outputs)
        for step in range(1, inputs.shape[1]):
            fitted = torch.linalg.pinv(inputs[:, :step]) @ outputs[:, :step]
            made[:, step] = (inputs[:, step, None] @ fitted)[:, 0]
        return made


@frozen
class Fitted:
    """A fit as a predictor: a Gaussian of given scale around what it predicts; 0 where there is nothing to fit.

    Parameters
    ----------
    fit : how to predict.
    pairs : which inputs and outputs tokens show.
    scale : standard deviation of the Gaussian.

    """

    fit: Fit
    pairs: Pairs
    scale: float

    def log_prob(self, batch: Batch) -> Tensor:
        """Return the log-density of each token, float64 (B, T), nats."""
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch: Batch) -> GaussianDistribution:
        """Return the Gaussian at every position."""
        mean = self.pairs.place(self.fit(*self.pairs.of(batch)), batch, 0.0)
        return GaussianDistribution(mean, torch.full_like(mean, self.scale))
