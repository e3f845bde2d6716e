"""Exact predictors of linear dynamical systems: knowing the system, or knowing some and inferring which."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from iclkit.api import Batch, GaussianDistribution
from iclkit_sources import kalman
from iclkit_sources.gaussian_mixture import Block, mixed_log_prob, mixed_mean, mixed_posterior

_CELLS = 1 << 19  # numbers in the means of one block: what a core's cache nearly holds


class SystemOracle:
    """The predictor that knows each sequence's system.

    Parameters
    ----------
    noise : standard deviation of the noise of each state variable.

    """

    def __init__(self, noise: float):
        self._noise = noise

    def log_prob(self, batch: Batch) -> Tensor:
        """Return the log-density of each token, float64 (B, T), nats."""
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch: Batch) -> GaussianDistribution:
        """Return the Gaussian of each token: N(x_{l-1} W, noise^2 I) where states are seen, else Kalman's."""
        tokens, noise = batch.tokens, self._noise
        if batch.topics.readout is None:
            systems = batch.topics[batch.topic]
            means = _advanced(tokens) @ systems.transition
            if systems.first is None:
                return GaussianDistribution(means, torch.full_like(means, noise))
            later = torch.diag_embed(torch.full_like(means[:, 1:], noise))
            return GaussianDistribution(means, torch.cat([systems.first[:, None], later], dim=1))
        used, topic = batch.topic.unique(return_inverse=True)
        known = kalman.prepare(batch.topics[used], noise, batch.length)[topic]
        means, _ = kalman.follow(batch.topics[batch.topic], known, tokens[:, None])
        return GaussianDistribution(means[:, 0], known.factors.transpose(0, 1))


class SystemMixture:
    """The predictor that knows some systems and their weights, and infers which it is in.

    Its predictions are mixtures of Gaussians: it has log-densities and means, but no distribution in closed form.

    Parameters
    ----------
    systems : the topics.
    weights : float64 tensor (K,), of any positive sum.
    noise : standard deviation of the noise of each state variable.

    """

    def __init__(self, systems: Any, weights: Tensor, noise: float):
        self._systems, self._noise = systems, noise
        self._log_prior = (weights / weights.sum()).log()

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln P(x_l | x_<l), float64 (B, T), nats."""
        return mixed_log_prob(self._blocks(batch.tokens))

    def mean(self, batch: Batch) -> Tensor:
        """Return the mean of each token given those before it, float64 (B, T, o)."""
        return mixed_mean(self._blocks(batch.tokens))

    def distribution(self, batch: Batch) -> None:
        """Return nothing: a mixture of Gaussians has no closed form here."""

    def posterior(self, batch: Batch) -> Tensor:
        """Return P(system | whole sequence), float64 (B, K)."""
        return mixed_posterior(self._blocks(batch.tokens))

    def _blocks(self, tokens: Tensor) -> Iterator[Block]:
        systems, rows = self._systems, max(1, _CELLS // max(1, tokens.numel()))
        if systems.readout is None:
            for begin in range(0, len(systems), rows):
                part = slice(begin, begin + rows)
                yield self._log_prior[part], *self._seen(systems[part], tokens)
            return
        for outer in kalman.blocks(systems, tokens.shape[1]):
            block = systems[outer]
            known, priors = kalman.prepare(block, self._noise, tokens.shape[1]), self._log_prior[outer]
            for index in torch.arange(len(block), device=tokens.device).split(rows):
                yield priors[index], *kalman.follow(block[index], known[index], tokens[None])

    def _seen(self, systems: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return means (k, B, T, d) and log-densities (k, B, T) of fully observed systems."""
        count, (size, length, d) = len(systems), tokens.shape
        means = _advanced(tokens).reshape(1, size * length, d) @ systems.transition
        means = means.view(count, size, length, d)
        scale = torch.full_like(means[:1, :1], self._noise)
        log_probs = GaussianDistribution(means, scale).log_prob(tokens)
        if systems.first is not None:
            first = GaussianDistribution(torch.zeros_like(means[:, :, :1]), systems.first[:, None, None])
            log_probs[:, :, :1] = first.log_prob(tokens[:, :1])
        return means, log_probs


def _advanced(tokens: Tensor) -> Tensor:
    """Return the states before each token, x_0 = 0 first."""
    return torch.nn.functional.pad(tokens[:, :-1], (0, 0, 1, 0))
