"""Exact GINC filters: what follows, given all tokens before and one topic or a mixture of topics.

An impossible token is -inf, and what follows it NaN.
"""

import torch
from torch import Tensor

from iclkit.api import Batch, CategoricalDistribution
from iclkit_sources.ginc.laws import Known, Possible
from iclkit_sources.ginc.recursion import Recursion
from iclkit_sources.ginc.topics import GincTopics

_ROWS = 1024  # sequences that go through time together at most
_CELLS = 1 << 17  # sequences times topics


class GincOracle:
    """The predictor that knows each sequence's topic."""

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l, topic), float64 (B, T), nats; -inf at an impossible token, NaN after."""
        return torch.cat([self._recursion(batch, rows).run(None)[0] for rows in _blocks(batch)])

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return Pr(. | x_<l, topic) at every position."""
        log_probs = _room(batch)
        for rows in _blocks(batch):
            self._recursion(batch, rows).run(log_probs[rows])
        return CategoricalDistribution(log_probs)

    def beliefs(self, batch: Batch) -> Tensor:
        """Return Pr(state of x_l | x_1 .. x_l, topic), float64 (B, T, E * P); 0 where no history is left."""
        shape = (*batch.tokens.shape, batch.topics.memory.numel())
        beliefs = torch.zeros(shape, dtype=torch.float64, device=batch.tokens.device)
        for rows in _blocks(batch):
            self._recursion(batch, rows).run(None, beliefs[rows])
        return beliefs

    def _recursion(self, batch: Batch, rows: slice) -> Recursion:
        prior = torch.zeros(1, dtype=torch.float64, device=batch.tokens.device)
        return Recursion(Known(batch.topics, batch.topic[rows]), prior, batch.tokens[rows])


class GincMixture:
    """The predictor that knows some topics and their weights, float64 (K,) of any positive sum; infers which."""

    def __init__(self, topics: GincTopics, weights: Tensor):
        self._law = Possible(topics)
        self._log_prior = (weights / weights.sum()).log()

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l), float64 (B, T), nats; -inf where no topic allows the token, NaN after."""
        return torch.cat([self._recursion(batch, rows).run(None)[0] for rows in _blocks(batch, len(self._log_prior))])

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return Pr(. | x_<l) at every position; float64 (B, T, V) is all that grows with B and T."""
        log_probs = _room(batch)
        for rows in _blocks(batch, len(self._log_prior)):
            self._recursion(batch, rows).run(log_probs[rows])
        return CategoricalDistribution(log_probs)

    def posterior(self, batch: Batch) -> Tensor:
        """Return Pr(topic | whole sequence), float64 (B, K); NaN where no topic allows the sequence."""
        return torch.cat(
            [self._recursion(batch, rows).run(None)[1].exp() for rows in _blocks(batch, len(self._log_prior))]
        )

    def _recursion(self, batch: Batch, rows: slice) -> Recursion:
        return Recursion(self._law, self._log_prior, batch.tokens[rows])


def _blocks(batch: Batch, width: int = 1) -> list[slice]:
    size = max(32, min(_ROWS, _CELLS // width))
    return [slice(begin, begin + size) for begin in range(0, len(batch.tokens), size)]


def _room(batch: Batch) -> Tensor:
    shape = (*batch.tokens.shape, batch.topics.symbols)
    return torch.empty(shape, dtype=torch.float64, device=batch.tokens.device)
