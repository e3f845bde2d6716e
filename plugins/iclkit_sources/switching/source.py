"""The source that changes topic inside a sequence; its references are one exact change-point filter."""

from typing import Any, Literal

import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Exact, Key, Listed
from iclkit_sources.machines.as_machines import listed_machines, machines_of
from iclkit_sources.machines.compilable import STATES
from iclkit_sources.machines.entropy_rate import entropy_rate
from iclkit_sources.machines.enumeration import mixture_floor
from iclkit_sources.machines.stack import Machines
from iclkit_sources.switching.change_points import ChangePointFilter, ChangePoints
from iclkit_sources.switching.config import Switching

Reference = Literal["oracle", "mixture", "population"]


@frozen(kw_only=True, eq=False)
class SwitchingTopics:
    """The one topic: the pool whose members take turns."""

    points: ChangePoints
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> "SwitchingTopics":
        return SwitchingTopics(points=self.points, numbers=self.numbers[index])


class SwitchingSource:
    """A source whose topics take turns inside a sequence."""

    def __init__(self, config: Switching):
        self._rate = config.rate
        self._weights = torch.tensor(config.weights(), dtype=torch.float64)
        self._source = config.source.build()
        self._drawn = not isinstance(config.source.facts.topics, Listed)
        self._listed: ChangePoints | None = None
        if not self._drawn:
            self._listed = self._points(listed_machines(config.source, self._source)[: len(self._weights)])

    def _points(self, pool: Machines) -> ChangePoints:
        return ChangePoints(pool=pool, weights=self._weights, rate=self._rate)

    def topics(self, numbers: Tensor, key: Key) -> SwitchingTopics:
        """Return the topic; a drawn pool is a function of its key."""
        points = self._listed
        if points is None:
            places = torch.arange(1, len(self._weights) + 1, device=numbers.device)
            drawn = self._source.topics(places, key[0].fold("pool").fold(places))
            points = self._points(machines_of(drawn))
        return SwitchingTopics(points=points, numbers=numbers)

    def sample(
        self, topics: SwitchingTopics, topic: Tensor, number: Tensor, length: int, key: Key
    ) -> tuple[Tensor, None]:
        """Sample one sequence per entry of `topic`, int64 tokens (B, length), all scored."""
        return topics.points.sample(None, length, key), None

    def oracle(self) -> "SwitchingOracle":
        """Return the filter that knows the pool, which is the topic."""
        return SwitchingOracle()

    def mixture(self, topics: SwitchingTopics, weights: Tensor) -> ChangePointFilter:
        """Return the filter: there is one topic."""
        return ChangePointFilter(topics.points, topics.points.restart[None])

    def population(self) -> ChangePointFilter | None:
        """Return the filter; None where the pool is drawn, being known only with its topic."""
        return None if self._listed is None else ChangePointFilter(self._listed, self._listed.restart[None])

    def optimum(
        self, reference: Reference, topics: SwitchingTopics | None, weights: Tensor | None, length: int
    ) -> Exact | None:
        """Return the exact floor, nats, the same for every reference; NaN past the budget of beliefs."""
        points = self._listed if topics is None else topics.points
        if points is None or points.pool.states * len(points.pool) > STATES:
            return None
        return mixture_floor(points.dense(points.restart[None]), torch.ones(1, dtype=torch.float64), length)

    def entropy_rate(self, topics: SwitchingTopics | None, weights: Tensor | None) -> Exact | None:
        """Return the entropy rate, nats, shape (1,), within rigorous bounds; None with many states."""
        points = self._listed if topics is None else topics.points
        if points is None or points.pool.states * len(points.pool) > STATES:
            return None
        return entropy_rate(points.dense(points.restart[None]), torch.ones(1, dtype=torch.float64))

    def compiled(self) -> tuple[Machines, Tensor] | None:
        """Return the law as one machine with its weight; None for a drawn pool or one of many states."""
        points = self._listed
        if points is None or points.pool.states * len(points.pool) > STATES:
            return None
        return points.dense(points.restart[None]), torch.ones(1, dtype=torch.float64)


class SwitchingOracle:
    """The filter of the topic that a batch belongs to."""

    def log_prob(self, batch: Any) -> Tensor:
        """Return ln Pr(x_l | x_<l), float64 (B, T), nats; -inf at an impossible token, NaN after."""
        return self._filter(batch).log_prob(batch)

    def distribution(self, batch: Any) -> Any:
        """Return Pr(. | x_<l) at every position."""
        return self._filter(batch).distribution(batch)

    def _filter(self, batch: Any) -> ChangePointFilter:
        points: ChangePoints = batch.topics.points
        return ChangePointFilter(points, points.restart[None])


def build(config: Switching) -> SwitchingSource:
    """Build the source of a config."""
    return SwitchingSource(config)
