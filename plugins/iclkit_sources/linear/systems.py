"""Linear dynamical systems: x_{t+1} = x_t W + noise * N(0, I), seen as they are or through y_t = x_t C.

Row vectors; x_0 = 0, or from the stationary distribution (arXiv 2301.07067 and its code). A token is one
observation; position 1 is that of x_1.
"""

import math
from typing import Literal

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Batch, Exact, Key
from iclkit_sources.linear import kalman
from iclkit_sources.linear.configs import Lds, lds_facts
from iclkit_sources.linear.covariances import covariance_spread
from iclkit_sources.linear.least_squares import Fitted, LeastSquares, Ridge
from iclkit_sources.linear.matrix_draws import haar, row_times, scaled_to, stationary_factor
from iclkit_sources.linear.predictors import SystemMixture, SystemOracle
from iclkit_sources.linear.prefix_regression import BayesianRegression, Pairs

Reference = Literal["oracle", "mixture", "population"]

_DRAWS = 1 << 19  # random numbers made together


@frozen(kw_only=True, eq=False)
class LinearSystems:
    """K systems.

    Parameters
    ----------
    transition : float64 tensor (K, d, d), W.
    readout : float64 tensor (K, d, o), C; None where the states are seen.
    first : float64 tensor (K, d, d), the lower triangular factor of the covariance of x_1; None for noise^2 I.
    numbers : int64 tensor (K,).

    """

    transition: Tensor
    readout: Tensor | None
    first: Tensor | None
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> "LinearSystems":
        return LinearSystems(
            transition=self.transition[index],
            readout=None if self.readout is None else self.readout[index],
            first=None if self.first is None else self.first[index],
            numbers=self.numbers[index],
        )


class LinearSystemSource:
    """A drawn family of linear dynamical systems."""

    def __init__(self, config: Lds):
        self._config, self._scale = config, lds_facts(config).noise

    def topics(self, numbers: Tensor, key: Key) -> LinearSystems:
        """Draw the systems of these numbers, int64 (K,)."""
        config, d = self._config, self._config.dimension
        transition, readout, first = key.fold("transition").normal(d, d), None, None
        if config.draw == "gaussian":
            transition = config.entry_scale * transition
        elif config.draw == "orthogonal":
            transition = config.radius * haar(transition)
        else:
            transition = scaled_to(config.radius, transition)
        if config.observed is not None:
            readout = key.fold("readout").normal(d, config.observed) / math.sqrt(config.observed)
        if config.start == "stationary":
            first = self._stationary(transition)
        return LinearSystems(transition=transition, readout=readout, first=first, numbers=numbers)

    def _stationary(self, transition: Tensor) -> Tensor:
        config = self._config
        if config.draw == "orthogonal":  # W^T W = radius^2 I
            scale = config.noise / math.sqrt(1 - config.radius**2)
            return (scale * torch.eye(config.dimension).to(transition)).expand_as(transition)
        return stationary_factor(transition, config.noise)

    def sample(
        self, topics: LinearSystems, topic: Tensor, number: Tensor, length: int, key: Key
    ) -> tuple[Tensor, None]:
        """Run each sequence's system: float64 tokens (B, length, o), all scored."""
        d = self._config.dimension
        rows = max(1, _DRAWS // (max(length, d) * d))
        topic = topic.to(key.states.device)
        parts = [slice(begin, begin + rows) for begin in range(0, max(1, len(topic)), rows)]
        return torch.cat([self._run(topics[topic[part]], length, key[part]) for part in parts]), None

    def _run(self, systems: LinearSystems, length: int, key: Key) -> Tensor:
        """Return the observations of one sequence of each system, float64 (B, length, o)."""
        shocks = key.normal(length, self._config.dimension)
        states = self._config.noise * shocks
        if systems.first is not None and length:
            states[:, 0] = row_times(shocks[:, 0], systems.first.mT)
        for step in range(1, length):
            states[:, step] += row_times(states[:, step - 1], systems.transition)
        return states if systems.readout is None else row_times(states, systems.readout[:, None])

    def oracle(self) -> SystemOracle:
        """Return the predictor that knows each sequence's system: the Kalman filter where it is partially seen."""
        return SystemOracle(self._config.noise)

    def mixture(self, topics: LinearSystems, weights: Tensor) -> SystemMixture:
        """Return the predictor that knows these systems and their weights, float64 (K,)."""
        return SystemMixture(topics, weights, self._config.noise)

    def population(self) -> BayesianRegression | None:
        """Return Bayesian linear regression on the prefix, exact for an unscaled Gaussian W that is fully seen."""
        config = self._config
        if config.draw != "gaussian" or config.observed is not None:
            return None
        return BayesianRegression(prior=config.entry_scale, noise=config.noise, pairs=AutoregressivePairs(1))

    def baselines(self, alpha: float | None = None, window: int = 1) -> dict[str, Fitted]:
        """Return predictors that fit the next token to the last `window` ones, on the prefix alone: no floors.

        `alpha` is ridge's penalty; if absent, that of a W with entries of variance radius^2 / dimension.
        """
        config, pairs = self._config, AutoregressivePairs(window)
        alpha = (config.noise / config.entry_scale) ** 2 if alpha is None else alpha
        return {
            "ridge": Fitted(Ridge(alpha), pairs, self._scale),
            "least-squares": Fitted(LeastSquares(), pairs, self._scale),
        }

    def spread(self, topics: LinearSystems | None, length: int) -> tuple[Tensor, Tensor] | None:
        """Return trace and a bound of the largest eigenvalue of the covariance of the first tokens, float64 (K,).

        Without topics (1,), where W is radius x orthogonal and states are seen: both depend
        on the radius alone; else None.
        """
        config = self._config
        if topics is not None:
            return covariance_spread(topics.transition, topics.readout, topics.first, config.noise, length)
        if config.draw != "orthogonal" or config.observed is not None:
            return None
        transition = config.radius * torch.eye(config.dimension, dtype=torch.float64)[None]
        first = self._stationary(transition) if config.start == "stationary" else None
        return covariance_spread(transition, None, first, config.noise, length)

    def optimum(
        self, reference: Reference, topics: LinearSystems | None, weights: Tensor | None, length: int
    ) -> Exact | None:
        """Return the oracle's differential entropy, nats, l = 1 .. length; None for the other references.

        Without topics (the whole family) it is known where states are seen; from a stationary start the first
        position is then NaN, as it is the mean of ln det over the family, unless W is orthogonal.
        """
        config, systems = self._config, topics
        if reference != "oracle":
            return None
        if config.observed is None:
            values = np.full(length, _gaussian_entropy(config.noise, config.dimension))
            if config.start == "stationary" and length:
                if config.draw == "orthogonal":
                    scale = config.noise / math.sqrt(1 - config.radius**2)
                    values[0] = _gaussian_entropy(scale, config.dimension)
                elif systems is None or weights is None or systems.first is None:
                    values[0] = np.nan
                else:
                    log_det = systems.first.diagonal(dim1=1, dim2=2).log().sum(1)
                    values[0] = _gaussian_entropy(1.0, config.dimension) + float(weights @ log_det / weights.sum())
        elif systems is None or weights is None:
            return None
        else:
            values = np.zeros(length)
            for part in kalman.blocks(systems, length):
                log_det = kalman.prepare(systems[part], config.noise, length).log_det  # (T, k)
                values += (log_det @ (weights[part] / weights.sum())).cpu().numpy()
            values += _gaussian_entropy(1.0, config.observed)
        error = 1e-12 * (1 + np.abs(values))
        return Exact(values=values, method="closed-form", error=error)

    def entropy_rate(self, topics: LinearSystems | None, weights: Tensor | None) -> Exact | None:
        """Return the weighted mean differential entropy per token in the long run, nats, shape (1,)."""
        config = self._config
        if config.observed is None:
            value, error = _gaussian_entropy(config.noise, config.dimension), 1e-12
        elif topics is None or weights is None or config.draw == "gaussian":
            return None
        else:
            bounds = kalman.rates(topics, config.noise)
            low, high = (float(weights @ bound / weights.sum()) for bound in bounds)
            value, error = (low + high) / 2 + _gaussian_entropy(1.0, config.observed), (high - low) / 2 + 1e-12
        return Exact(values=np.array([value]), method="closed-form", error=np.array([error * (1 + abs(value))]))


def build(config: Lds) -> LinearSystemSource:
    """Build the source of a config."""
    return LinearSystemSource(config)


@frozen
class AutoregressivePairs(Pairs):
    """The next token as a linear function of the last `window` ones; before there are so many, 0."""

    window: int

    def of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return inputs (B, T - window, window * o) and outputs (B, T - window, o)."""
        tokens, window = batch.tokens, self.window
        count = max(0, batch.length - window)
        lagged = [tokens[:, window - lag :][:, :count] for lag in range(1, window + 1)]
        return torch.cat(lagged, dim=2), tokens[:, window:]

    def place(self, values: Tensor, batch: Batch, otherwise: float) -> Tensor:
        """Put values of the pairs (B, T - window, o) where they are predicted, (B, T, o)."""
        blank = values.new_full((len(values), min(self.window, batch.length), values.shape[2]), otherwise)
        return torch.cat([blank, values], dim=1)


def _gaussian_entropy(scale: float, dimension: int) -> float:
    """Return the differential entropy of N(0, scale^2 I), nats."""
    return dimension * (0.5 + 0.5 * math.log(2 * math.pi) + math.log(scale))
