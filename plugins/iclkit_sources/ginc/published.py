"""The published GINC data set: its topics and documents from its own random stream, number by number.

The stream is NumPy's legacy generator seeded with 1111: memory matrix (one integer draw per cell, with replacement),
then for each of ten topics the start distribution, the weights and the permutations of its property matrix, and its
entity matrix under a seed of its own (1114), hence the same for all; then documents, two uniforms per token.
"""

from collections.abc import Iterator

import numpy as np
import torch
from attrs import frozen

from iclkit_sources.ginc.config import IN_DISTRIBUTION, PUBLISHED_TOPICS, Ginc
from iclkit_sources.ginc.topics import GincTopics

SEED = 1111
ENTITY_SEED = 1114
TRAINING_DOCUMENTS, TRAINING_LENGTH = 1000, 10240
VALIDATION_DOCUMENTS, VALIDATION_LENGTH = 100, 1024


@frozen(kw_only=True, eq=False)
class Document:
    """A published document: its topic's number, 1 .. 5, its hidden states and its tokens, int64 arrays (T,)."""

    topic: int
    states: np.ndarray
    tokens: np.ndarray


def published_topics(config: Ginc) -> GincTopics:
    """Return the ten published topics, numbered 1 .. 10; `config` says sizes and temperatures."""
    return _topics(config, np.random.RandomState(SEED))


def published_documents(config: Ginc, count: int, length: int = TRAINING_LENGTH, skip: int = 0) -> Iterator[Document]:
    """Yield the published training documents in order, of `length` tokens each, after passing over `skip` of them.

    Documents of another length are those that the published program would write had it been told that length. Its
    validation documents follow the training documents in the stream: see `published_validation`.
    """
    stream = np.random.RandomState(SEED)
    topics = _topics(config, stream)
    _pass(stream, skip, length)
    for _ in range(count):
        yield _document(topics, stream, length)


def published_validation(config: Ginc, count: int = VALIDATION_DOCUMENTS) -> Iterator[Document]:
    """Yield the published validation documents, 1024 tokens each: what follows 1000 training documents of 10240."""
    stream = np.random.RandomState(SEED)
    topics = _topics(config, stream)
    _pass(stream, TRAINING_DOCUMENTS, TRAINING_LENGTH)
    for _ in range(count):
        yield _document(topics, stream, VALIDATION_LENGTH)


def _topics(config: Ginc, stream: np.random.RandomState) -> GincTopics:
    memory = stream.randint(1, config.symbols, size=(config.entities, config.properties))
    memory[:, 0] = 0
    starts, properties, entities = [], [], []
    for _ in range(PUBLISHED_TOPICS):
        starts.append(_softmax(stream.random_sample(config.states), config.start_temperature))
        properties.append(_permutation_mixture(config, config.properties, stream))
        own = stream if config.topic_entities else np.random.RandomState(ENTITY_SEED)
        mixed = _permutation_mixture(config, config.entities, own)
        entities.append((1 - config.identity) * mixed + config.identity * np.eye(config.entities))
    property_, entity = torch.from_numpy(np.stack(properties)), torch.from_numpy(np.stack(entities))
    entity = entity if config.topic_entities else entity[0]
    return GincTopics(
        memory=torch.from_numpy(memory).long(),
        symbols=config.symbols,
        start=torch.from_numpy(np.stack(starts)),
        property_moves=property_,
        entity_moves=entity,
        prompt_property_moves=property_,
        prompt_entity_moves=entity,
        numbers=torch.arange(1, PUBLISHED_TOPICS + 1),
    )


def _softmax(uniform: np.ndarray, temperature: float) -> np.ndarray:
    scaled = (uniform - 0.5) / temperature
    weights = np.exp(scaled - scaled.max())
    return weights / weights.sum()


def _permutation_mixture(config: Ginc, size: int, stream: np.random.RandomState) -> np.ndarray:
    """Return sum_j a_j Pi_j, the weights drawn first; Pi_j has its row i's one in column permutation_j[i]."""
    weights = _softmax(stream.random_sample(config.permutations), config.transition_temperature)
    mixed, rows = np.zeros((size, size)), np.arange(size)
    for weight in weights:
        mixed[rows, stream.permutation(size)] += weight
    return mixed


def _pass(stream: np.random.RandomState, count: int, length: int) -> None:
    """Draw what so many documents take, and forget it."""
    for _ in range(count):
        stream.choice(IN_DISTRIBUTION)
        stream.random_sample(2 * length)


def _document(topics: GincTopics, stream: np.random.RandomState, length: int) -> Document:
    """Sample a document; each token takes a uniform for the state and one for the emission, which is certain."""
    topic = int(stream.choice(IN_DISTRIBUTION))
    uniforms = stream.random_sample(2 * length)[::2]
    memory, moves = topics.memory.numpy().ravel(), topics.property_moves[topic].numpy()
    entity = topics.entity_moves.numpy() if topics.entity_moves.ndim == 2 else topics.entity_moves[topic].numpy()
    edges = np.cumsum(topics.start[topic].numpy())
    states = np.empty(length, dtype=np.int64)
    for step, uniform in enumerate(uniforms):
        state = int((edges > uniform).argmax())
        states[step] = state
        row, column = divmod(state, topics.properties)
        edges = np.outer(entity[row], moves[column]).ravel().cumsum()
    return Document(topic=topic + 1, states=states, tokens=memory[states])
