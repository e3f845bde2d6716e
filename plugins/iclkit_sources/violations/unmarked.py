"""Sequences that are continued by others of any topic, without a mark: the first topic is theirs, the rest is not."""

from typing import Literal

import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Batch, CategoricalDistribution, Exact, Key
from iclkit_sources.machines.compilable import STATES
from iclkit_sources.machines.entropy_rate import entropy_rate
from iclkit_sources.machines.enumeration import mixture_floor, oracle_floor
from iclkit_sources.machines.stack import Machines
from iclkit_sources.switching.change_points import ChangePointFilter, ChangePoints

Reference = Literal["oracle", "mixture", "population"]


@frozen(kw_only=True, eq=False)
class FirstTopics:
    """The topics that sequences begin with: numbers, int64 (K,), counted from 1 within the pool."""

    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> "FirstTopics":
        return FirstTopics(numbers=self.numbers[index])


class Unmarked:
    """A listed family of machines whose sequences are continued, unmarked, by sequences of the family.

    A sequence begins with its topic; at every boundary a topic is drawn by weight. The oracle knows the first topic
    and the boundaries' rate, not where they lie.
    """

    def __init__(self, points: ChangePoints):
        self._points = points

    def topics(self, numbers: Tensor, key: Key) -> FirstTopics:
        """Return the topics of these numbers, int64 (K,)."""
        return FirstTopics(numbers=numbers)

    def sample(self, topics: FirstTopics, topic: Tensor, number: Tensor, length: int, key: Key) -> tuple[Tensor, None]:
        """Sample one sequence per entry of `topic`, int64 tokens (B, length), all scored."""
        return self._points.sample(topics.numbers[topic] - 1, length, key), None

    def oracle(self) -> "UnmarkedOracle":
        """Return the filter that knows each sequence's first topic."""
        return UnmarkedOracle(self._points)

    def mixture(self, topics: FirstTopics, weights: Tensor) -> ChangePointFilter:
        """Return the filter that knows these topics to be the first, with these weights, float64 (K,)."""
        return ChangePointFilter(self._points, self._mixed(topics, weights))

    def population(self) -> ChangePointFilter:
        """Return the filter whose first topic is any, by weight."""
        return ChangePointFilter(self._points, self._points.restart[None])

    def optimum(
        self, reference: Reference, topics: FirstTopics | None, weights: Tensor | None, length: int
    ) -> Exact | None:
        """Return the exact floor of a reference, nats; NaN past the budget of beliefs, None with many states."""
        machines, weights = self._machines(topics, weights)
        if machines is None:
            return None
        return (oracle_floor if reference == "oracle" else mixture_floor)(machines, weights, length)

    def entropy_rate(self, topics: FirstTopics | None, weights: Tensor | None) -> Exact | None:
        """Return the entropy rate, nats, shape (1,): with boundaries one and the same for every first topic."""
        machines, _ = self._machines(None, None)
        return None if machines is None else entropy_rate(machines[:1], torch.ones(1, dtype=torch.float64))

    def _machines(self, topics: FirstTopics | None, weights: Tensor | None) -> tuple[Machines | None, Tensor]:
        pool = self._points.pool
        if topics is None or weights is None:
            topics, weights = FirstTopics(numbers=torch.arange(1, len(pool) + 1)), self._points.weights
        if pool.states * len(pool) > STATES:
            return None, weights
        return self._points.dense(_begun(pool, topics.numbers.cpu() - 1)), weights.cpu() / float(weights.sum())

    def _mixed(self, topics: FirstTopics, weights: Tensor) -> Tensor:
        """Return the law of the first (machine, state), float64 (1, K, S)."""
        pool = self._points.pool
        share = torch.zeros(len(pool), dtype=torch.float64)
        share[topics.numbers - 1] = weights / weights.sum()
        return (share[:, None] * pool.start)[None]


class UnmarkedOracle:
    """The filter that knows the topic each sequence begins with."""

    def __init__(self, points: ChangePoints):
        self._points = points

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l, first topic), float64 (B, T), nats; -inf at an impossible token, NaN after."""
        return self._filter().log_prob(self._placed(batch))

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return Pr(. | x_<l, first topic) at every position."""
        return self._filter().distribution(self._placed(batch))

    def _filter(self) -> ChangePointFilter:
        return ChangePointFilter(self._points, _begun(self._points.pool, torch.arange(len(self._points.pool))))

    def _placed(self, batch: Batch) -> Batch:
        """Return the batch with each sequence's topic by its place in the pool."""
        return batch.replace(topic=batch.topics.numbers[batch.topic] - 1)


def _begun(pool: Machines, places: Tensor) -> Tensor:
    """Return the laws of the first (machine, state) of sequences that begin with these machines, (n, K, S)."""
    return torch.eye(len(pool), dtype=torch.float64)[places][..., None] * pool.start
