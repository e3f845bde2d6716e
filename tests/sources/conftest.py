"""Sources built as the core builds them, and batches drawn from them."""

from types import SimpleNamespace

import pytest
import torch

from iclkit.api import Batch, Component, Key, Listed
from iclkit_sources.plugin import iclkit_sources

SPECS = {spec.name: spec for spec in iclkit_sources()}


def component(kind, **fields):
    spec = SPECS[kind]
    config = spec.config(**fields)
    assert not list(getattr(config, "problems", tuple)())
    return Component(spec=spec, config=config, name=kind)


def make(kind, **fields):
    return component(kind, **fields).build()


def topics_of(source, numbers, seed=0):
    numbers = torch.as_tensor(numbers)
    return source.topics(numbers, Key.root(seed).fold("topics").fold(numbers))


def draw(source, topics, topic, length, seed=0, number=None):
    topic = torch.as_tensor(topic)
    number = torch.arange(1, len(topic) + 1) if number is None else torch.as_tensor(number)
    key = Key.root(seed).fold("sequences").fold(topics.numbers[topic]).fold(number)
    tokens, mask = source.sample(topics, topic, number, length, key)
    mask = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
    return Batch(tokens=tokens, mask=mask, topics=topics, topic=topic, number=number)


def batch_of(tokens, topics=None, topic=None):
    tokens = torch.as_tensor(tokens)
    topic = torch.zeros(len(tokens), dtype=torch.int64) if topic is None else torch.as_tensor(topic)
    return Batch(
        tokens=tokens,
        mask=torch.ones_like(tokens, dtype=torch.bool),
        topics=topics,
        topic=topic,
        number=torch.arange(1, len(tokens) + 1),
    )


def problems(kind, **fields):
    return dict(SPECS[kind].config(**fields).problems())


def listed(kind, **fields):
    """Return a listed source with all its topics and their weights, float64 (K,)."""
    part = component(kind, **fields)
    facts = part.facts
    assert isinstance(facts.topics, Listed)
    weights = torch.tensor(facts.topics.weights, dtype=torch.float64)
    source = part.build()
    return source, topics_of(source, range(1, len(weights) + 1)), weights


@pytest.fixture(scope="session")
def kit():
    torch.set_num_threads(1)
    return SimpleNamespace(
        component=component,
        make=make,
        topics_of=topics_of,
        draw=draw,
        batch_of=batch_of,
        problems=problems,
        listed=listed,
        specs=SPECS,
    )
