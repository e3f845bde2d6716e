"""The splits a model is measured on: the two-level expectation, train, sequences, topics, and what is held out."""

from typing import Any, Literal

import torch
from attrs import frozen
from torch import Tensor

from iclkit.config import Config
from iclkit.data import TOP, Family, Sampler, TrainingSequences, listed_family, topics_key
from iclkit.keys import Key
from iclkit.protocols import Batch
from iclkit.reduction import Reducer

Design = Literal["stratified", "clustered"]


@frozen(kw_only=True, eq=False)
class Split:
    """Evaluation sequences of one kind, in order of topic.

    Parameters
    ----------
    name : train, sequences, topics, holdout-sequences or holdout-topics.
    topic : int64 tensor (n,), index into the family, or topic numbers.
    number : int64 tensor (n,).
    sampler : makes their batches.
    groups : int64 tensor (n,), the unit of the standard error each sequence belongs to, consecutive.
    design : stratified, where the groups are given and sequences sampled in each; clustered, where the groups are
        the sample.
    weights : float64 tensor (K,), of the groups where all of them are there (stratified), else None.
    optimum : the reference that is optimal here, or None.
    lawful : whether that reference is the true law of a token given those before it.

    """

    name: str
    topic: Tensor
    number: Tensor
    sampler: Sampler
    groups: Tensor
    design: Design
    weights: Tensor | None
    optimum: str | None
    lawful: bool

    def __len__(self) -> int:
        return len(self.topic)

    def reducer(self) -> Reducer:
        """Return what averages over its sequences, in order, as they were sampled."""
        return Reducer(self.design, None if self.weights is None else self.weights.numpy())

    def chunk(self, rows: slice) -> Batch:
        """Sample some of its sequences."""
        return self.sampler.batch(self.topic[rows], self.number[rows])


def splits(config: Config, source: Any, training: TrainingSequences, *, trained: bool = True) -> list[Split]:
    """Return the splits of a cell: train (where it was trained here), sequences (where K is finite), topics."""
    made = [_train_split(config, source, training)] if trained else []
    if config.data.topics != "fresh":
        made.append(_fresh_sequences(config, source, training))
    made.append(_fresh_topics(config, source))
    return made


def _evaluation_sampler(config: Config, source: Any, family: Family | None) -> Sampler:
    root = Key.root(config.seeds.evaluation).fold("evaluation")
    return Sampler(config, source, family, root.fold("topics"), root.fold("sequences"), config.evaluation_length)


def _train_split(config: Config, source: Any, training: TrainingSequences) -> Split:
    """Sequences that were trained on, at the length of the evaluation.

    Finite data: the first of each topic. Otherwise the first that training meets, no more than its steps reach (a
    trainer tells by its settings `batch_size` and `steps`).
    """
    wanted, family, count = config.evaluation.sequences, training.family, training.count
    stream = Key.root(config.seeds.sequences).fold("sequences")
    design: Design
    weights = None
    if family is not None and count is not None and training.per_topic is not None:
        topic = allocate(family.weights, min(wanted, count), config)
        number = _place_in_run(topic) + 1
        inside = number <= training.per_topic
        topic, number, design = topic[inside], number[inside], "stratified"
        groups, weights = topic, _if_all(family.weights, topic)
    else:
        size = getattr(config.trainer.config, "batch_size", 64)
        seen = size * getattr(config.trainer.config, "steps", wanted)
        topic, number = training.addresses(torch.arange(min(wanted, seen) or wanted), size)
        order = topic.argsort(stable=True)
        topic, number, design = topic[order], number[order], "clustered"
        groups = topic if family is None else torch.arange(len(topic))
    return Split(
        name="train",
        topic=topic,
        number=number,
        sampler=Sampler(config, source, family, topics_key(config), stream, config.evaluation_length),
        groups=groups,
        design=design,
        weights=weights,
        optimum="population" if config.data.topics == "fresh" else "mixture",
        lawful=False,
    )


def _if_all(weights: Tensor, topic: Tensor) -> Tensor | None:
    """Return the weights where every topic has a sequence; else the sequences are a sample of the topics."""
    return weights if len(topic.unique()) == len(weights) else None


def _fresh_sequences(config: Config, source: Any, training: TrainingSequences) -> Split:
    assert training.family is not None
    topic = allocate(training.family.weights, config.evaluation.sequences, config)
    return Split(
        name="sequences",
        topic=topic,
        number=(config.source.facts.sequences_limit or TOP) - _place_in_run(topic),
        sampler=_evaluation_sampler(config, source, training.family),
        groups=topic,
        design="stratified",
        weights=_if_all(training.family.weights, topic),
        optimum="mixture",
        lawful=True,
    )


def _fresh_topics(config: Config, source: Any) -> Split:
    family, wanted = listed_family(config, source), config.evaluation.sequences
    if family is not None:
        topic = allocate(family.weights, wanted, config)
    else:
        topics = config.evaluation.topics or wanted
        topic = TOP - (torch.arange(wanted) * topics).div(wanted, rounding_mode="floor")
    return Split(
        name="topics",
        topic=topic,
        number=(config.source.facts.sequences_limit or TOP) - _place_in_run(topic),
        sampler=_evaluation_sampler(config, source, family),
        groups=topic,
        design="clustered" if family is None else "stratified",
        weights=None if family is None else _if_all(family.weights, topic),
        optimum="population",
        lawful=True,
    )


def fresh_family(config: Config, source: Any, count: int) -> Family:
    """Return fresh topics, those of the split `topics` and more of them; all topics of a listed source."""
    listed = listed_family(config, source)
    if listed is not None:
        return listed
    numbers = TOP - torch.arange(count)
    topics = source.topics(numbers, Key.root(config.seeds.evaluation).fold("evaluation").fold("topics").fold(numbers))
    return Family(topics=topics, weights=torch.full((count,), 1 / count, dtype=torch.float64))


def holdout_splits(config: Config, source: Any, training: TrainingSequences) -> list[Split]:
    """Return what is held out: the sequences after the N of each topic, the topics after the K with N sequences each.

    They are units of the training's own streams, so that training and held-out units are exchangeable. Where N is
    "fresh" a held-out topic has as many sequences as are held out of a known one, and at least one.
    """
    stream = Key.root(config.seeds.sequences).fold("sequences")
    held, per_topic, family = config.data.holdout, training.per_topic, training.family
    made: list[tuple[str, Tensor, Tensor, Family | None]] = []
    if held.sequences and family is not None:
        topic = torch.arange(len(family.weights)).repeat_interleave(held.sequences)
        number = _place_in_run(topic)
        number = TOP - number if per_topic is None else per_topic + 1 + number
        made.append(("holdout-sequences", topic, number, family))
    if held.topics:
        first = TOP - held.topics if family is None else len(family.weights) + 1
        topic = torch.arange(first, first + held.topics).repeat_interleave(per_topic or max(held.sequences, 1))
        made.append(("holdout-topics", topic, _place_in_run(topic) + 1, None))
    return [
        Split(
            name=name,
            topic=topic,
            number=number,
            sampler=Sampler(config, source, known, topics_key(config), stream, config.evaluation_length),
            groups=topic,
            design="stratified" if known else "clustered",
            weights=None if known is None else known.weights,
            optimum="mixture" if known else "population",
            lawful=True,
        )
        for name, topic, number, known in made
    ]


def allocate(weights: Tensor, count: int, config: Config) -> Tensor:
    """Spread `count` sequences over K topics, in order: int64 tensor (count,).

    Two to each topic as far as they go, so that every topic's scatter is seen, and the others in proportion to the
    weights: systematic sampling with one random offset, rounded up or down without bias.
    """
    each = min(2, count // len(weights))
    rest = count - each * len(weights)
    offset = float(Key.root(config.seeds.evaluation).fold("allocation").uniform())
    places = (torch.arange(rest, dtype=torch.float64) + offset) / max(rest, 1)
    drawn = torch.searchsorted(weights.cumsum(0), places, right=True).clamp_(max=len(weights) - 1)
    return torch.cat([torch.arange(len(weights)).repeat(each), drawn]).sort().values


def _place_in_run(values: Tensor) -> Tensor:
    """Return 0, 1, 2, ... within each run of equal values."""
    starts = torch.ones_like(values, dtype=torch.bool)
    starts[1:] = values[1:] != values[:-1]
    places = torch.arange(len(values))
    return places - places[starts][starts.cumsum(0) - 1]


def chunk_rows(count: int, length: int, tokens: int = 8192) -> list[slice]:
    """Cut `count` sequences into chunks of about so many tokens."""
    size = max(1, tokens // length)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
