"""What a GINC filter asks of its topics: first states, moves of live states, and next tokens.

Moves are products of the factors, Pr(e', p' | e, p) = A[e, e'] Pi[p, p']. There are two answers: either the topic of
each sequence is known, and numbers come in one column; or K topics are possible, and they come in K columns.
"""

from typing import Protocol

import torch
from torch import Tensor

from iclkit_sources.ginc.live import Slots
from iclkit_sources.ginc.topics import GincTopics

_SHIFT = 32
_LOW = (1 << _SHIFT) - 1


class Law(Protocol):
    """Sequences over K topics each."""

    topics: GincTopics

    def first(self) -> Tensor:
        """Return Pr(first state | topic), float64 (B, 1, E * P) or (1, K, E * P)."""
        ...

    def after(self, slots: Slots) -> Tensor:
        """Return codes of slots as targets, int64 (S,); a pair's code is the sum of its source's and its target's."""
        ...

    def moves(self, codes: Tensor) -> Tensor:
        """Return Pr(target's state | source's state, topic) of pairs, float64 (M, K), from their codes (M,)."""
        ...

    def following(self, states: Tensor, joint: Tensor, sequence: Tensor) -> Tensor:
        """Return Pr(next token), float64 (n, V), of sequences (n,).

        `joint`, (n, S, K), is how they weigh topics and `states` (S,), those of their last token.
        """
        ...


class Known:
    """Sequences whose topics are known, `topic` int64 (B,)."""

    def __init__(self, topics: GincTopics, topic: Tensor):
        self.topics, self._topic = topics, topic
        self._tokens = _tokens_by_entity(topics)

    def first(self) -> Tensor:
        """Return Pr(first state | topic), float64 (B, 1, E * P)."""
        return self.topics.start[self._topic][:, None]

    def after(self, slots: Slots) -> Tensor:
        """Return codes of slots as targets, int64 (S,): they say the topic too."""
        topic = self._topic.index_select(0, slots.sequence)
        by_entity = topic * self.topics.entities**2 if self.topics.entity_moves.ndim == 3 else 0
        return _after(self.topics, slots) + (by_entity << _SHIFT) + topic * self.topics.properties**2

    def moves(self, codes: Tensor) -> Tensor:
        """Return Pr(target's state | source's state, topic), float64 (M, 1)."""
        moves = self.topics.property_moves.flatten().index_select(0, codes & _LOW)
        return moves.mul_(self.topics.entity_moves.flatten().index_select(0, codes >> _SHIFT))[:, None]

    def following(self, states: Tensor, joint: Tensor, sequence: Tensor) -> Tensor:
        """Return Pr(next token), float64 (n, V)."""
        topic, (entity, property_) = self._topic[sequence][:, None], _split(self.topics, states)
        moved = self.topics.property_moves[topic, property_].mul_(joint)  # (n, S, P)
        if self._tokens is not None:
            return moved.flatten(1) @ self._tokens[entity].flatten(0, 1)
        return _shown(self.topics, self.topics.entity_moves[topic, entity].mT @ moved)


class Possible:
    """Sequences that may have each of K topics."""

    def __init__(self, topics: GincTopics):
        self.topics = topics
        self._property = topics.property_moves.flatten(1).T.contiguous()  # (P * P, K)
        self._entity = topics.entity_moves.reshape(-1, topics.entities**2).T.contiguous()  # (E * E, 1) or (E * E, K)
        self._tokens = _tokens_by_entity(topics)

    def first(self) -> Tensor:
        """Return Pr(first state | topic), float64 (1, K, E * P)."""
        return self.topics.start[None]

    def after(self, slots: Slots) -> Tensor:
        """Return codes of slots as targets, int64 (S,)."""
        return _after(self.topics, slots)

    def moves(self, codes: Tensor) -> Tensor:
        """Return Pr(target's state | source's state, topic), float64 (M, K)."""
        moves = self._property.index_select(0, codes & _LOW)
        return moves.mul_(self._entity.index_select(0, codes >> _SHIFT))

    def following(self, states: Tensor, joint: Tensor, sequence: Tensor) -> Tensor:
        """Return Pr(next token), float64 (n, V)."""
        entity, property_ = _split(self.topics, states)
        moves = self.topics.property_moves[:, property_].transpose(0, 1)  # (S, K, P)
        if self._tokens is None:
            entities = self.topics.entity_moves[:, entity].transpose(0, 1)  # (S, K, E)
            after = _shown(self.topics, (entities[..., None] * moves[..., None, :]).flatten(0, 1))  # (S * K, V)
            return joint.flatten(1) @ after
        if len(self.topics) > self.topics.properties:  # it is less work to sum over topics first
            moved = torch.bmm(joint.transpose(0, 1), moves).transpose(0, 1)  # (n, S, P)
            return moved.flatten(1) @ self._tokens[entity].flatten(0, 1)
        return joint.flatten(1) @ torch.bmm(moves, self._tokens[entity]).flatten(0, 1)


def _split(topics: GincTopics, states: Tensor) -> tuple[Tensor, Tensor]:
    """Return the entity and the property of states."""
    return states // topics.properties, states % topics.properties


def sources(topics: GincTopics, slots: Slots) -> Tensor:
    """Return codes of slots as sources, int64 (S,).

    A pair's code holds two places, in the flattened entity matrices (high half) and property matrices (low half).
    """
    entity, property_ = _split(topics, slots.state)
    return (entity * topics.entities << _SHIFT) + property_ * topics.properties


def _after(topics: GincTopics, slots: Slots) -> Tensor:
    entity, property_ = _split(topics, slots.state)
    return (entity << _SHIFT) + property_


def _tokens_by_entity(topics: GincTopics) -> Tensor | None:
    """Return Pr(next token | entity, next property), float64 (E, P, V); None where entity matrices differ."""
    if topics.entity_moves.ndim == 3:
        return None
    shown = torch.nn.functional.one_hot(topics.memory, topics.symbols).double()  # (E, P, V)
    return torch.einsum("ef,fpv->epv", topics.entity_moves, shown)


def _shown(topics: GincTopics, states: Tensor) -> Tensor:
    """Return the probabilities of tokens, float64 (n, V), from those of states (n, E, P)."""
    tokens = states.new_zeros(len(states), topics.symbols)
    return tokens.index_add_(1, topics.memory.flatten(), states.flatten(1))
