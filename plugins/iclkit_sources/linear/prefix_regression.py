"""Bayesian linear regression on the prefix: what is known of the map after the pairs seen so far.

Outputs are y = x M + noise * N(0, I) with entries of M independent N(0, prior^2). Given pairs before, every column
of M has covariance V and the next output is N(x m, (noise^2 + x V x^T) I); V does not depend on the outputs. This is
ridge regression with penalty noise^2 / prior^2.
"""

from typing import Protocol

import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Batch, GaussianDistribution


class Pairs(Protocol):
    """Which inputs and outputs a sequence of tokens shows, and where the outputs stand."""

    def of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return inputs (B, n, d) and outputs (B, n, p), float64."""
        ...

    def place(self, values: Tensor, batch: Batch, otherwise: float) -> Tensor:
        """Put values of the outputs (B, n, p) at their positions, and another value elsewhere: (B, T, p)."""
        ...


def predict(inputs: Tensor, outputs: Tensor, prior: float, noise: float) -> tuple[Tensor, Tensor]:
    """Return mean (B, n, p) and standard deviation (B, n) of each output given the pairs before it and its input.

    One pair at a time, on a factor F with V = F F^T (Potter's square-root update): V stays positive however large
    or alike the inputs are. O(n d (d + p)) per sequence.
    """
    size, count, d = inputs.shape
    factor = prior * torch.eye(d, dtype=inputs.dtype, device=inputs.device).repeat(size, 1, 1)
    coefficients = inputs.new_zeros(size, d, outputs.shape[2])
    means, scales = torch.empty_like(outputs), inputs.new_empty(size, count)
    for step in range(count):
        x = inputs[:, step, None]  # (B, 1, d)
        white = x @ factor  # (B, 1, d)
        variance = noise**2 + white.square().sum(2, keepdim=True)  # (B, 1, 1)
        means[:, step, None] = expected = x @ coefficients
        scales[:, step] = variance.sqrt()[:, 0, 0]
        gain = factor @ white.mT / variance  # (B, d, 1)
        coefficients += gain * (outputs[:, step, None] - expected)
        factor -= gain * white / (1 + noise / variance.sqrt())
    return means, scales


@frozen
class BayesianRegression:
    """The predictor that knows only the prior of the map, exact where that is the law of the topics.

    Parameters
    ----------
    prior : standard deviation of the map's entries.
    noise : that of the outputs' noise.
    pairs : which inputs and outputs tokens show.
    elsewhere : standard deviation of what stands at other positions, with mean 0; the noise if absent.

    """

    prior: float
    noise: float
    pairs: Pairs
    elsewhere: float | None = None

    def log_prob(self, batch: Batch) -> Tensor:
        """Return the log-density of each token, float64 (B, T), nats."""
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch: Batch) -> GaussianDistribution:
        """Return the posterior predictive at every position."""
        mean, deviation = predict(*self.pairs.of(batch), self.prior, self.noise)
        scale = deviation[..., None].expand_as(mean)
        otherwise = self.noise if self.elsewhere is None else self.elsewhere
        return GaussianDistribution(self.pairs.place(mean, batch, 0.0), self.pairs.place(scale, batch, otherwise))
