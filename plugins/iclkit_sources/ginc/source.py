"""The GINC source: drawn or published topics, exact references, prompts."""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from iclkit.api import Batch, Exact, Key, Uniform
from iclkit_sources.ginc.bigrams import ginc_bigrams
from iclkit_sources.ginc.config import Ginc
from iclkit_sources.ginc.filters import GincMixture, GincOracle
from iclkit_sources.ginc.floors import word_floor
from iclkit_sources.ginc.prompts import Examples, Prompts, make_prompts
from iclkit_sources.ginc.published import published_topics
from iclkit_sources.ginc.sampling import sample_states
from iclkit_sources.ginc.topics import GincTopics, make_topics, make_world

Reference = Literal["oracle", "mixture", "population"]


class GincSource:
    """GINC topics, drawn by address or as published."""

    def __init__(self, config: Ginc):
        self._config = config
        self._published = published_topics(config) if config.published else None
        self._world = None if config.published else make_world(config)

    def topics(self, numbers: Tensor, key: Key) -> GincTopics:
        """Return the topics of these numbers, int64 (K,); published ones are 1 .. 10."""
        if self._world is None:
            assert self._published is not None
            return self._published[numbers.cpu() - 1].to(numbers.device)
        return make_topics(self._config, self._world, numbers, key)

    def sample(self, topics: GincTopics, topic: Tensor, number: Tensor, length: int, key: Key) -> tuple[Tensor, None]:
        """Sample one document per entry of `topic`, int64 tokens (B, length), all scored."""
        if self._config.random_data:
            return key.fold("tokens").integers(self._config.symbols, length), None
        states = sample_states(topics, topic, None, length, key)
        return topics.memory.flatten()[states.T.int()], None

    def oracle(self) -> GincOracle | Uniform:
        """Return the predictor that knows each sequence's topic."""
        return Uniform(self._config.symbols) if self._config.random_data else GincOracle()

    def mixture(self, topics: GincTopics, weights: Tensor) -> GincMixture | Uniform:
        """Return the predictor that knows these topics and their weights, float64 (K,)."""
        return Uniform(self._config.symbols) if self._config.random_data else GincMixture(topics, weights)

    def population(self) -> GincMixture | Uniform | None:
        """Return the mixture of the published topics, uniform for random data; None for drawn topics."""
        if self._config.random_data:
            return Uniform(self._config.symbols)
        if self._published is None:
            return None
        return GincMixture(self._published, torch.ones(len(self._published), dtype=torch.float64))

    def beliefs(self, batch: Batch) -> Tensor:
        """Return Pr(state of x_l | x_1 .. x_l, topic), float64 (B, T, E * P); state = entity * P + property."""
        return GincOracle().beliefs(batch)

    def prompts(
        self,
        topics: GincTopics,
        shots: int,
        length: int,
        count: int,
        key: Key,
        examples: Examples = "in-distribution",
    ) -> Prompts:
        """Make `count` prompts of `shots` examples of `length` tokens, the output among them, and a test input.

        `topics` are those that prompts are drawn from, uniformly; `key` is one state. A prompt has
        (length + 1) * shots + length - 1 tokens.
        """
        return make_prompts(topics, shots, length, count, key, examples)

    def leaky(self, topics: GincTopics, weights: Tensor, leak: float) -> GincMixture | Uniform:
        """Return the mixture of topics whose moves leak: it reads prompts that no topic's documents could contain."""
        return self.mixture(topics.leaking(leak), weights)

    def optimum(
        self, reference: Reference, topics: GincTopics | None, weights: Tensor | None, length: int
    ) -> Exact | None:
        """Return the exact floor of a reference, nats, l = 1 .. length; NaN past the budget of words.

        None for the oracle and the population of all drawn topics, which have no exact form.
        """
        if self._config.random_data:
            return _constant(math.log(self._config.symbols), length)
        if topics is None or weights is None:
            if self._published is None:
                return None
            topics, weights = self._published, torch.ones(len(self._published), dtype=torch.float64)
        return word_floor(topics, weights / weights.sum(), length, reference == "oracle")

    def entropy_rate(self, topics: GincTopics | None, weights: Tensor | None) -> Exact | None:
        """Return the entropy rate of random data, ln V nats; None for hidden Markov documents."""
        return _constant(math.log(self._config.symbols), 1) if self._config.random_data else None

    def bigrams(self, topics: GincTopics, length: int) -> tuple[Tensor, Tensor]:
        """Return the laws of the first token (K, V) and of neighbours (K, V, V), the mean over l = 2 .. length."""
        if self._config.random_data:
            first = torch.full((len(topics), self._config.symbols), 1 / self._config.symbols, dtype=torch.float64)
            return first, first[:, :, None] * first[:, None]
        return ginc_bigrams(topics, length)


def build(config: Ginc) -> GincSource:
    """Build the source of a config."""
    return GincSource(config)


def _constant(value: float, length: int) -> Exact:
    return Exact(values=np.full(length, value), method="closed-form", error=np.full(length, 1e-15))
