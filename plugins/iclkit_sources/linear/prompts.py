"""Prompts of linear regression: x_1, y_1, x_2, y_2, ... as separate tokens, y = x w + noise, x and w ~ N(0, I).

The i.i.d. setting of Garg et al. (arXiv 2208.01066); with K known tasks that of Raventos et al. (arXiv 2306.15063),
whose discrete minimum mean squared error predictor is the mixture here, and whose ridge is the population. The law
of x does not depend on the task, so all predictors agree on inputs, which are not scored.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Batch, Exact, GaussianDistribution, Key
from iclkit_sources.linear.configs import LinearRegression
from iclkit_sources.linear.gaussian_mixture import (
    Block,
    isotropic_log_probs,
    mixed_log_prob,
    mixed_mean,
    mixed_posterior,
)
from iclkit_sources.linear.least_squares import Fitted, LeastSquares, Ridge
from iclkit_sources.linear.matrix_draws import ordered_sum
from iclkit_sources.linear.prefix_regression import BayesianRegression, Pairs

Reference = Literal["oracle", "mixture", "population"]

_CELLS = 1 << 17  # (task, answer) pairs looked at together


@frozen(kw_only=True, eq=False)
class Tasks:
    """K tasks.

    Parameters
    ----------
    weights : float64 tensor (K, D), w.
    numbers : int64 tensor (K,).

    """

    weights: Tensor
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> "Tasks":
        return Tasks(weights=self.weights[index], numbers=self.numbers[index])


@frozen
class PromptPairs(Pairs):
    """Inputs at odd positions, answers at even ones."""

    def of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return inputs x (B, n, D) and answers y (B, n, 1) of the whole pairs."""
        answers = batch.tokens[:, 1::2, :1]
        return batch.tokens[:, 0::2, :-1][:, : answers.shape[1]], answers

    def place(self, values: Tensor, batch: Batch, otherwise: float) -> Tensor:
        """Put values of the answers (B, n, 1) at even positions, (B, T, 1)."""
        placed = values.new_full((len(values), batch.length, 1), otherwise)
        placed[:, 1::2] = values
        return placed


class RegressionPrompts:
    """A drawn family of linear regression tasks."""

    def __init__(self, config: LinearRegression):
        self._config = config

    def topics(self, numbers: Tensor, key: Key) -> Tasks:
        """Draw the tasks of these numbers, int64 (K,)."""
        return Tasks(weights=key.fold("weights").normal(self._config.dimension), numbers=numbers)

    def sample(self, topics: Tasks, topic: Tensor, number: Tensor, length: int, key: Key) -> tuple[Tensor, Tensor]:
        """Write each task's prompts, float64 tokens (B, length, D + 1); answers are scored."""
        dimension, device = self._config.dimension, key.states.device
        draws = key.normal((length + 1) // 2, dimension + 1)  # (B, n, D + 1): x and the noise of y
        inputs, noise = draws[..., :-1], draws[..., -1]
        own = topics.weights.to(device)[topic.to(device), None]  # (B, 1, D)
        answers = ordered_sum(inputs * own)[..., 0] + self._config.noise * noise
        tokens = draws.new_zeros(len(topic), length, dimension + 1)
        tokens[:, 0::2, :-1] = inputs
        tokens[:, 1::2, 0] = answers[:, : length // 2]
        tokens[:, 1::2, -1] = 1.0
        mask = (torch.arange(length, device=device) % 2 == 1).repeat(len(topic), 1)
        return tokens, mask

    def shots(self, length: int) -> np.ndarray:
        """Return how many pairs were seen before each position, int64 (length,): that of an answer is l / 2 - 1."""
        return np.arange(length) // 2

    def oracle(self) -> "TaskOracle":
        """Return the predictor that knows each prompt's task."""
        return TaskOracle(self._config.noise)

    def mixture(self, topics: Tasks, weights: Tensor) -> "TaskMixture":
        """Return the discrete MMSE predictor: it knows these tasks and their weights, float64 (K,)."""
        return TaskMixture(topics, weights, self._config.noise)

    def population(self) -> BayesianRegression:
        """Return Bayesian ridge regression with penalty noise^2, exact for w ~ N(0, I)."""
        return BayesianRegression(prior=1.0, noise=self._config.noise, pairs=PromptPairs(), elsewhere=1.0)

    def baselines(self, alpha: float | None = None) -> dict[str, Fitted]:
        """Return ridge, with penalty noise^2 if absent, and least squares on the prefix."""
        noise = self._config.noise
        return {
            "ridge": Fitted(Ridge(noise**2 if alpha is None else alpha), PromptPairs(), noise),
            "least-squares": Fitted(LeastSquares(), PromptPairs(), noise),
        }

    def spread(self, topics: Tasks | None, length: int) -> tuple[Tensor, Tensor] | None:
        """Return trace and largest eigenvalue of the answers' covariance, (|w|^2 + noise^2) I, float64 (K,).

        None where no task is given: |w| has no largest value.
        """
        if topics is None:
            return None
        variance = topics.weights.square().sum(1) + self._config.noise**2
        return variance * (length // 2), variance

    def optimum(self, reference: Reference, topics: Tasks | None, weights: Tensor | None, length: int) -> Exact | None:
        """Return the oracle's differential entropy, at inputs too (of N(0, 1)); None for the other references."""
        if reference != "oracle":
            return None
        values = np.full(length, 0.5 * math.log(2 * math.pi * math.e))
        values[1::2] += math.log(self._config.noise)
        return Exact(values=values, method="closed-form", error=1e-13 * (1 + np.abs(values)))


def build(config: LinearRegression) -> RegressionPrompts:
    """Build the source of a config."""
    return RegressionPrompts(config)


class TaskOracle:
    """The predictor that knows each prompt's task.

    Parameters
    ----------
    noise : standard deviation of the answers' noise.

    """

    def __init__(self, noise: float):
        self._noise = noise

    def log_prob(self, batch: Batch) -> Tensor:
        """Return the log-density of each token's first channel, float64 (B, T), nats."""
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch: Batch) -> GaussianDistribution:
        """Return N(x w, noise^2) at answers, N(0, 1) at inputs."""
        pairs = PromptPairs()
        inputs, _ = pairs.of(batch)
        means = inputs @ batch.topics.weights[batch.topic][..., None]  # (B, n, 1)
        scales = torch.full_like(means, self._noise)
        return GaussianDistribution(pairs.place(means, batch, 0.0), pairs.place(scales, batch, 1.0))


class TaskMixture:
    """The predictor that knows some tasks and their weights, and infers which it is in (discrete MMSE).

    Parameters
    ----------
    tasks : the topics.
    weights : float64 tensor (K,), of any positive sum.
    noise : standard deviation of the answers' noise.

    """

    def __init__(self, tasks: Tasks, weights: Tensor, noise: float):
        self._tasks, self._noise = tasks, noise
        self._log_prior = (weights / weights.sum()).log()

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln P(first channel of x_l | x_<l), float64 (B, T), nats."""
        inputs = GaussianDistribution(torch.zeros_like(batch.tokens[..., :1]), torch.ones_like(batch.tokens[..., :1]))
        log_prob = inputs.log_prob(batch.tokens)
        if batch.length > 1:
            log_prob[:, 1::2] = mixed_log_prob(self._blocks(batch))
        return log_prob

    def mean(self, batch: Batch) -> Tensor:
        """Return the mean of each token's first channel given the tokens before, float64 (B, T, 1)."""
        if batch.length < 2:
            return torch.zeros_like(batch.tokens[..., :1])
        return PromptPairs().place(mixed_mean(self._blocks(batch)), batch, 0.0)

    def distribution(self, batch: Batch) -> None:
        """Return nothing: a mixture of Gaussians has no closed form here."""

    def posterior(self, batch: Batch) -> Tensor:
        """Return P(task | whole sequence), float64 (B, K)."""
        return mixed_posterior(self._blocks(batch))

    def _blocks(self, batch: Batch) -> Iterator[Block]:
        inputs, answers = PromptPairs().of(batch)
        rows = max(1, _CELLS // max(1, answers.numel()))
        for begin in range(0, len(self._tasks), rows):
            part = slice(begin, begin + rows)
            own = self._tasks.weights[part]  # (k, D)
            log_probs = isotropic_log_probs(inputs, answers, own[..., None], self._noise)
            yield Block(self._log_prior[part], log_probs, partial(_average, inputs, own))


def _average(inputs: Tensor, tasks: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum of x w: inputs (B, n, D), tasks (k, D), weights (k, B, n) -> (B, n, 1)."""
    mixed = torch.einsum("kbn,kd->bnd", weights, tasks)
    return (inputs * mixed).sum(2, keepdim=True)
