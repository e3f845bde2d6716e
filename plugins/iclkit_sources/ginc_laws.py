"""What a GINC filter asks of its topics: the first state, and Pr(e', p' | e, p) = A[e, e'] Pi[p, p'] of live states.

Two answers: the topic of each sequence is known, one column of numbers; or K topics are possible, K columns.
"""

import torch
from torch import Tensor

from iclkit_sources.ginc_live import Pairs, Slots
from iclkit_sources.ginc_topics import GincTopics


class Known:
    """Sequences whose topics are known, `topic` int64 (B,): numbers come in one column."""

    def __init__(self, topics: GincTopics, topic: Tensor):
        self.topics, self._topic = topics, topic

    def first(self) -> Tensor:
        """Return Pr(first state | topic), float64 (B, 1, E * P)."""
        return self.topics.start[self._topic][:, None]

    def moves(self, slots: Slots, pairs: Pairs) -> Tensor:
        """Return Pr(target's state | source's state), float64 (M, 1)."""
        topic = self._topic[slots.sequence][pairs.target]
        by_property, by_entity = _codes(self.topics, slots, pairs)
        moves = self.topics.property.flatten(1)[topic, by_property]
        if self.topics.entity.ndim == 3:
            return moves.mul_(self.topics.entity.flatten(1)[topic, by_entity])[:, None]
        return moves.mul_(self.topics.entity.flatten()[by_entity])[:, None]

    def following(self, states: Tensor, joint: Tensor, sequence: Tensor) -> Tensor:
        """Return Pr(next state), float64 (n, E, P), from weights (n, S, 1) of some states (S,)."""
        entity, property_ = states // self.topics.properties, states % self.topics.properties
        topic = self._topic[sequence]
        moved = self.topics.property[topic[:, None], property_].mul_(joint)  # (n, S, P)
        if self.topics.entity.ndim == 3:
            entities = self.topics.entity[topic[:, None], entity].mT
        else:
            entities = self.topics.entity[entity].T.expand(len(joint), -1, -1)
        return entities @ moved


class Possible:
    """K topics, each of which a sequence may have: numbers come in K columns."""

    def __init__(self, topics: GincTopics):
        self.topics = topics
        self._property = topics.property.flatten(1).T.contiguous()  # (P * P, K)
        own = topics.entity.ndim == 3
        self._entity = topics.entity.flatten(1).T.contiguous() if own else topics.entity.reshape(-1, 1)  # (E * E, K)

    def first(self) -> Tensor:
        """Return Pr(first state | topic), float64 (1, K, E * P)."""
        return self.topics.start[None]

    def moves(self, slots: Slots, pairs: Pairs) -> Tensor:
        """Return Pr(target's state | source's state), float64 (M, K)."""
        by_property, by_entity = _codes(self.topics, slots, pairs)
        return self._property.index_select(0, by_property).mul_(self._entity.index_select(0, by_entity))

    def following(self, states: Tensor, joint: Tensor, sequence: Tensor) -> Tensor:
        """Return Pr(next state), float64 (n, E, P), from weights (n, S, K) of some states (S,)."""
        entity, property_ = states // self.topics.properties, states % self.topics.properties
        moves = self.topics.property[:, property_].transpose(0, 1)  # (S, K, P)
        if self.topics.entity.ndim == 2:
            moved = torch.bmm(joint.transpose(0, 1), moves)  # (S, n, P)
            ...
        return moved
