"""Exact predictors of linear dynamical systems: knowing the system, or knowing some and inferring which."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from iclkit.api import Batch, GaussianDistribution
from iclkit_sources.linear import kalman
from iclkit_sources.linear.gaussian_mixture import (
    Block,
    isotropic_log_probs,
    mixed_log_prob,
    mixed_mean,
    mixed_posterior,
)

_CELLS = 1 << 17  # (system, token) pairs, or channels, in one block: what a core's cache holds


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
        systems, length = self._systems, tokens.shape[1]
        if systems.readout is None:
            rows = max(1, _CELLS // max(1, tokens[..., 0].numel()))
            for begin in range(0, len(systems), rows):
                part = slice(begin, begin + rows)
                yield self._seen(systems[part], self._log_prior[part], tokens)
            return
        rows = max(1, _CELLS // max(1, tokens.numel()))
        for outer in kalman.blocks(systems, length):
            block = systems[outer]
            known, priors = kalman.prepare(block, self._noise, length), self._log_prior[outer]
            for index in torch.arange(len(block), device=tokens.device).split(rows):
                means, log_probs = kalman.follow(block[index], known[index], tokens[None])
                yield Block(priors[index], log_probs, partial(torch.einsum, "kbto,kbt->bto", means))

    def _seen(self, systems: Any, log_prior: Tensor, tokens: Tensor) -> Block:
        """Return what fully observed systems say."""
        before = _advanced(tokens)
        log_probs = isotropic_log_probs(before, tokens, systems.transition, self._noise)
        if systems.first is not None:
            zero = tokens.new_zeros(len(systems), len(tokens), 1, tokens.shape[2])
            log_probs[:, :, :1] = GaussianDistribution(zero, systems.first[:, None, None]).log_prob(tokens[:, :1])

        def average(weights: Tensor) -> Tensor:
            mixed = torch.einsum("kn,kde->nde", weights.flatten(1), systems.transition)
            return (before.flatten(0, 1)[:, None] @ mixed).view(before.shape)

        return Block(log_prior, log_probs, average)


def _advanced(tokens: Tensor) -> Tensor:
    """Return the states before each token, x_0 = 0 first."""
    return torch.nn.functional.pad(tokens[:, :-1], (0, 0, 1, 0))
