"""Addresses -> batches: what a model is trained on.

A sequence is (topic number, sequence number). Training sees topics 1..K and sequences 1..N; what is held out
follows them; evaluation counts down from the top of the range, on streams of its own. So N = 10 is a prefix of
N = 100, and the evaluation data do not change when K or N do.
"""

from collections.abc import Iterator
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor

from iclkit.config import Config
from iclkit.keys import Key
from iclkit.protocols import Batch
from iclkit.spaces import Categorical
from iclkit.specs import Listed

TOP = 1 << 40
"""Numbers of fresh evaluation topics and sequences count down from here where a source has no limit of its own."""

_BLOCK = 4096  # sequences sampled at a time (channels counted): the sampler's cost is per time step
_KEPT_BYTES = 1 << 28  # finite training data up to this size are sampled once and kept


def topics_key(config: Config) -> Key:
    """The stream of the training topics."""
    return Key.root(config.seeds.topics).fold("topics")


@frozen(kw_only=True, eq=False)
class Family:
    """The topics a cell knows by number: the K training topics, or all topics of a listed source.

    Parameters
    ----------
    topics : the topics, K of them.
    weights : float64 tensor (K,), summing to 1.

    """

    topics: Any
    weights: Tensor

    @property
    def uniform(self) -> bool:
        """Whether all weights are equal."""
        return bool((self.weights == self.weights[0]).all())


def known_family(config: Config, source: Any) -> Family | None:
    """Return the topics that training draws from, or None where each sequence has a topic of its own."""
    family, count = config.source.facts.topics, config.data.topics
    if isinstance(family, Listed):
        count = len(family.weights) if count == "fresh" else count
        weights = torch.tensor(family.weights[:count], dtype=torch.float64)
    elif count == "fresh":
        return None
    else:
        weights = torch.ones(count, dtype=torch.float64)
    numbers = torch.arange(1, count + 1)
    weights = weights / weights.max()
    return Family(topics=source.topics(numbers, topics_key(config).fold(numbers)), weights=weights / weights.sum())


def listed_family(config: Config, source: Any) -> Family | None:
    """Return all topics of a listed source, or None for a drawn one."""
    if not isinstance(config.source.facts.topics, Listed):
        return None
    return known_family(evolve(config, data=evolve(config.data, topics="fresh")), source)


class Sampler:
    """Makes the batch of given addresses of one source."""

    def __init__(self, config: Config, source: Any, family: Family | None, topics: Key, sequences: Key, length: int):
        self._source, self._family = source, family
        self._topics, self._sequences, self._length = topics, sequences, length
        space = config.source.facts.space
        self.dtype = _smallest(space.size) if isinstance(space, Categorical) else torch.float64
        self.channels = 1 if isinstance(space, Categorical) else space.dim

    @property
    def bytes(self) -> int:
        """How much memory the tokens of a kept sequence take."""
        return self._length * self.channels * self.dtype.itemsize

    def batch(self, topic: Tensor, number: Tensor) -> Batch:
        """Sample sequences: `topic` is an index into the family, or a topic number where there is none."""
        if self._family is None:
            numbers, index = torch.unique(topic, return_inverse=True)
            topics = self._source.topics(numbers, self._topics.fold(numbers))
        else:
            topics, index = self._family.topics, topic
        alias = getattr(self._source, "alias", None)
        held = number if alias is None else alias(topics, index, number)
        key = self._sequences.fold(topics.numbers[index]).fold(held)
        tokens, mask = self._source.sample(topics, index, held, self._length, key)
        if mask is None:
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
        return Batch(tokens=tokens, mask=mask, topics=topics, topic=index, number=number)


class TrainingSequences:
    """The training sequences of a cell; implements `iclkit.protocols.TrainingData`.

    Units are counted from 0 in the order they are trained on. Finite data are visited once per epoch in an order
    that depends only on the seed and the epoch; where weights differ, topics are drawn by weight instead.
    """

    def __init__(self, config: Config, source: Any):
        self._config, self._source = config, source
        self.family = known_family(config, source)
        self.per_topic = None if config.data.sequences == "fresh" else config.data.sequences
        self._order = Key.root(config.seeds.order).fold("order")
        stream = Key.root(config.seeds.sequences).fold("sequences")
        self._sampler = Sampler(config, source, self.family, topics_key(config), stream, config.data.length)
        self._block: tuple[tuple[int, int], Batch] | None = None
        self._kept: Batch | None = None
        self._epochs: tuple[Tensor, Tensor] | None = None

    @property
    def count(self) -> int | None:
        """K N, the number of different sequences; None if it has no end."""
        if self.family is None or self.per_topic is None:
            return None
        return len(self.family.weights) * self.per_topic

    @property
    def weights(self) -> Tensor | None:
        """With what weights topics are drawn, float64 (K,), summing to 1; None if they have no end."""
        return None if self.family is None else self.family.weights

    def batch(self, step: int, size: int, rows: slice = slice(None)) -> Batch:
        """Return rows of the batch of a step (0-based); `size` is the global batch size."""
        if self.count is not None and self.count * self._sampler.bytes <= _KEPT_BYTES:
            return self._from_kept(torch.arange(step * size, (step + 1) * size)[rows], size)
        steps = max(1, _BLOCK // (size * self._sampler.channels))
        block, place = divmod(step, steps)
        if self._block is None or self._block[0] != (block, size):
            units = torch.arange(block * steps * size, (block + 1) * steps * size)
            self._block = (block, size), self._sampled(*self.addresses(units, size))
        return select(self._block[1], torch.arange(place * size, (place + 1) * size)[rows])

    def all(self, chunk: int) -> Iterator[Batch]:
        """Iterate over all K N sequences, topic by topic."""
        if self.count is None or self.per_topic is None:
            raise ValueError("fresh data have no end")
        for start in range(0, self.count, chunk):
            units = torch.arange(start, min(start + chunk, self.count))
            yield self._sampled(units // self.per_topic, units % self.per_topic + 1)

    def subset(self, topics: int | None = None, sequences: int | None = None) -> "TrainingSequences":
        """Return the data of the first topics and sequences only; raises ValueError where there are fewer."""
        data = self._config.data
        have = None if self.family is None else len(self.family.weights)
        for wanted, there, name in ((topics, have, "topics"), (sequences, self.per_topic, "sequences per topic")):
            if wanted is not None and there is not None and wanted > there:
                raise ValueError(f"a subset of {wanted} {name} was asked for, there are {there}")
        data = evolve(data, topics=topics or data.topics, sequences=sequences or data.sequences)
        return TrainingSequences(evolve(self._config, data=data), self._source)

    def addresses(self, units: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return (topic, sequence number) of units; topics are indices into the family, or numbers without one.

        Where topics have no end but N sequences each, `size` topics return N times before new ones come.
        """
        if self.family is None:
            if self.per_topic is None:
                return units + 1, torch.ones_like(units)
            row, visit = units % size, units // size
            return visit // self.per_topic * size + row + 1, visit % self.per_topic + 1
        if self.per_topic is None:
            return self._drawn_topics(units), units + 1
        if self.family.uniform:
            places = self._shuffled(units, len(self.family.weights) * self.per_topic)
            return places // self.per_topic, places % self.per_topic + 1
        return self._drawn_topics(units), self._order.fold("number").fold(units).integers(self.per_topic) + 1

    def _sampled(self, topic: Tensor, number: Tensor) -> Batch:
        batch = self._sampler.batch(topic, number)
        if not self._config.data.bos:
            batch.mask[:, 0] = False  # without a begin token nothing predicts the first position
        return batch

    def _drawn_topics(self, units: Tensor) -> Tensor:
        assert self.family is not None
        return self._order.fold("topic").fold(units).categorical(self.family.weights)

    def _shuffled(self, units: Tensor, count: int) -> Tensor:
        """Return the place of each unit in its epoch's order, a permutation of 0 .. count-1."""
        epochs, row = units.div(count, rounding_mode="floor").unique(return_inverse=True)
        if self._epochs is None or not torch.equal(self._epochs[0], epochs):
            self._epochs = epochs, self._order.fold("epoch").fold(epochs).bits(count).argsort(-1)  # (epochs, count)
        return self._epochs[1][row, units % count]

    def _from_kept(self, units: Tensor, size: int) -> Batch:
        if self._kept is None:
            chunks = list(self.all(_BLOCK))
            self._kept = evolve(
                chunks[0],
                tokens=torch.cat([chunk.tokens.to(self._sampler.dtype) for chunk in chunks]),
                mask=torch.cat([chunk.mask for chunk in chunks]),
                topic=torch.cat([chunk.topic for chunk in chunks]),
                number=torch.cat([chunk.number for chunk in chunks]),
            )
        topic, number = self.addresses(units, size)
        assert self.per_topic is not None
        batch = select(self._kept, topic * self.per_topic + number - 1)
        return batch if batch.tokens.is_floating_point() else evolve(batch, tokens=batch.tokens.long())


def prior_sequences(config: Config, source: Any) -> TrainingSequences | None:
    """Return what the training that runs first is trained on, at the main training's length; None without one."""
    prior = config.prior
    if prior is None:
        return None
    data = evolve(prior.data, length=config.data.length, bos=config.data.bos)
    own = source if prior.source == config.source else prior.source.build()
    return TrainingSequences(evolve(prior, data=data), own)


def select(batch: Batch, rows: Tensor) -> Batch:
    """Return some sequences of a batch; the topics stay."""
    return evolve(
        batch,
        tokens=batch.tokens[rows],
        mask=batch.mask[rows],
        topic=batch.topic[rows],
        number=batch.number[rows],
    )


def _smallest(size: int) -> torch.dtype:
    return torch.uint8 if size <= 1 << 8 else torch.int16 if size <= 1 << 15 else torch.int32
