"""Sampling GINC states: entity and property each take one draw per step from alias tables.

Many sequences go through time together. Draws are addressed by (sequence, block of time, step), so what a sequence
becomes depends neither on its neighbours nor on how far it goes.
"""

import torch
from torch import Tensor

from iclkit.api import Key
from iclkit_sources.ginc.topics import GincTopics

_ROWS = 8192  # sequences that go through time together: what a core's cache holds, and many for each operation
_STEPS = 32  # draws made together; part of the address of a draw, so never to be changed


class Alias:
    """Alias tables of rows of probabilities, float64 (n, S): a draw costs two look-ups (Walker, 1977).

    A cell of a row keeps its own outcome with probability `keep` and gives `other` else; keep is exactly 0 where the
    outcome's probability is 0.
    """

    def __init__(self, rows: Tensor):
        count, size = rows.shape
        left = rows / rows.sum(-1, keepdim=True) * size
        keep, other = torch.ones_like(left), torch.arange(size, device=rows.device).repeat(count, 1)
        open_ = torch.ones_like(left, dtype=torch.bool)
        for _ in range(size - 1):
            poor = torch.where(open_, left, torch.inf).argmin(-1, keepdim=True)
            rich = torch.where(open_, left, -torch.inf).argmax(-1, keepdim=True)
            has = left.gather(1, poor).clamp_(0, 1)
            keep.scatter_(1, poor, has)
            other.scatter_(1, poor, rich)
            left.scatter_add_(1, rich, has - 1)
            open_.scatter_(1, poor, False)
        self.size = size
        self._keep, self._other = keep.flatten(), other.to(torch.int32).flatten()

    def cells(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Split draws in [0, 1) into a cell, int32, and a place within it, float64 in [0, 1)."""
        scaled = uniform * self.size
        cell = scaled.to(torch.int32).clamp_(max=self.size - 1)
        return cell, scaled.sub_(cell)

    def draw(self, row: Tensor, cell: Tensor, place: Tensor) -> Tensor:
        """Return the outcomes of rows, int32 (B,)."""
        at = torch.add(cell, row, alpha=self.size)
        return torch.where(place < self._keep.index_select(0, at), cell, self._other.index_select(0, at))


def sample_states(topics: GincTopics, topic: Tensor, first: Tensor | None, length: int, key: Key) -> Tensor:
    """Sample one chain of hidden states per entry of `topic`, int64 (B,): integers below E P, (length, B).

    `key` has one state per sequence. `first`, int64 (B,), are the first states; drawn from the topics' start if None.
    """
    device, count = key.states.device, len(topic)
    dtype = torch.int16 if topics.memory.numel() <= 1 << 15 else torch.int32
    states = torch.empty(length, count, dtype=dtype, device=device)
    if length == 0:
        return states
    topic = topic.to(device)
    if first is None:
        first = _first_states(topics, topic, key.fold("start"))
    properties = Alias(topics.property_moves.flatten(0, 1))
    entities = Alias(topics.entity_moves.reshape(-1, topics.entities))
    for begin in range(0, count, _ROWS):
        rows = slice(begin, begin + _ROWS)
        _chains(topics, (entities, properties), topic[rows], first[rows], key[rows], states[:, rows])
    return states


def _chains(
    topics: GincTopics, tables: tuple[Alias, Alias], topic: Tensor, first: Tensor, key: Key, states: Tensor
) -> None:
    """Fill states (T, B)."""
    size, (entities, properties) = topics.properties, tables
    property_base = (topic * size).to(torch.int32)
    entity_base = (topic * topics.entities).to(torch.int32) if topics.entity_moves.ndim == 3 else None
    entity, property_ = (first // size).to(torch.int32), (first % size).to(torch.int32)
    states[0] = first
    keys = key.fold("entity"), key.fold("property")
    for begin in range(1, len(states), _STEPS):
        steps = min(_STEPS, len(states) - begin)
        for_entity, for_property = (
            table.cells(_draws(each.fold(begin // _STEPS), steps)) for table, each in zip(tables, keys, strict=True)
        )
        for step in range(steps):
            row = entity if entity_base is None else entity + entity_base
            entity = entities.draw(row, for_entity[0][step], for_entity[1][step])
            property_ = properties.draw(property_ + property_base, for_property[0][step], for_property[1][step])
            torch.add(property_, entity, alpha=size, out=states[begin + step])


def _draws(key: Key, steps: int) -> Tensor:
    """Return uniforms (steps, B), made in pieces that fit a core's cache."""
    draws = torch.empty(steps, len(key.states), dtype=torch.float64, device=key.states.device)
    for begin in range(0, draws.shape[1], 1024):
        rows = slice(begin, begin + 1024)
        draws[:, rows] = key[rows].uniform(steps).T
    return draws


def _first_states(topics: GincTopics, topic: Tensor, key: Key) -> Tensor:
    """Draw first states, int64 (B,), by inverting the start's distribution function."""
    edges = topics.start.cumsum(-1)
    edges = edges / edges[:, -1:]  # exactly 1 from the last possible state on
    found = torch.empty_like(topic)
    for begin in range(0, len(topic), _ROWS):
        rows = slice(begin, begin + _ROWS)
        found[rows] = torch.searchsorted(edges[topic[rows]], key[rows].uniform(1), right=True).squeeze(-1)
    return found
