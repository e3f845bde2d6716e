"""GINC prompts and the published data set, against the fact sheet, hmmlearn and the dense chain."""

import itertools

import numpy as np
import pytest
import torch
from hmmlearn.hmm import CategoricalHMM
from scipy import stats

from iclkit.api import Key
from iclkit_sources.ginc.config import Ginc
from iclkit_sources.ginc.prompts import prompt_length
from iclkit_sources.ginc.published import published_documents, published_topics, published_validation

EXAMPLES = ("in-distribution", "out-of-distribution")
IMPOSSIBLE = {  # 4.2: percent of out-of-distribution test inputs of zero likelihood under their own topic
    50: {3: 5, 5: 20, 8: 42, 10: 50},
    100: {3: 17, 5: 43, 8: 72, 10: 77},
    150: {3: 18, 5: 49, 8: 77, 10: 86},
}


def published(kit, numbers, **fields):
    source = kit.make("ginc", published=True, **fields)
    return source, kit.topics_of(source, numbers)


@pytest.mark.parametrize(("symbols", "distinct"), [(50, 42), (100, 63), (150, 69)])
def test_published_symbols(symbols, distinct):
    assert len(published_topics(Ginc(published=True, symbols=symbols)).memory.unique()) == distinct


def test_published_matrices():
    topics = published_topics(Ginc(published=True))
    shares = (topics.property_moves == 0).double().mean((1, 2)) * 100
    assert shares.min() >= 32 - 1e-9
    assert shares.max() <= 38 + 1e-9
    assert topics.start.min() > 0.0094
    assert topics.start.max() < 0.0106
    np.testing.assert_allclose(topics.property_moves.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(topics.entity_moves.sum(1), 1, atol=1e-12)


def test_published_validation_documents():
    """The first hidden states and the topics (from 0: 2, 4, 4) of the published validation file."""
    before = np.random.get_state()[1].copy()
    documents = list(published_validation(Ginc(published=True), 3))
    assert [document.topic for document in documents] == [3, 5, 5]
    starts = [document.states[:12].tolist() for document in documents]
    assert starts == [
        [73, 75, 79, 75, 72, 73, 74, 71, 79, 71, 79, 75],
        [16, 10, 14, 11, 19, 13, 11, 19, 15, 18, 10, 14],
        [55, 59, 58, 55, 58, 55, 58, 56, 50, 54, 61, 60],
    ]
    assert [document.states[-1] for document in documents[:2]] == [92, 60]
    assert (before == np.random.get_state()[1]).all()


@pytest.mark.parametrize("topic_entities", [False, True])
def test_published_stream_is_hmmlearns(topic_entities):
    config = Ginc(published=True, topic_entities=topic_entities)
    topics = published_topics(config)
    documents = list(published_documents(config, 3, 400))
    stream = np.random.RandomState(1111)
    stream.randint(1, 50, size=(10, 10))
    for _ in range(10):
        stream.random_sample(100)
        for _ in range(1 + topic_entities):
            stream.random_sample(10)
            for _ in range(10):
                stream.permutation(10)
    shown = np.eye(50)[topics.memory.numpy().ravel()]
    for document in documents:
        topic = stream.choice(5)
        entity = topics.entity_moves[topic] if topic_entities else topics.entity_moves
        peer = CategoricalHMM(n_components=100, n_features=50, init_params="", params="")
        peer.startprob_, peer.emissionprob_ = topics.start[topic].numpy(), shown
        peer.transmat_ = np.kron(entity.numpy(), topics.property_moves[topic].numpy())
        tokens, states = peer.sample(400, random_state=stream)
        assert document.topic == topic + 1
        np.testing.assert_array_equal(document.states, states)
        np.testing.assert_array_equal(document.tokens, tokens[:, 0])
    last = next(published_documents(config, 1, 400, skip=2))
    np.testing.assert_array_equal(last.states, documents[2].states)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_prompts_are_examples_and_delimiters(kit, examples):
    source, topics = published(kit, range(1, 6))
    prompts = source.prompts(topics, 4, 5, 300, Key.root(0), examples=examples)
    assert prompts.tokens.shape == (300, prompt_length(4, 5)) == (300, 28)
    assert (prompts.tokens[:, 5:24:6] == 0).all()
    share = float((prompts.tokens == 0).double().mean())
    batch = prompts.batch()
    assert batch.tokens.shape == (300, 29)
    assert torch.equal(batch.tokens[:, -1], prompts.label)
    assert batch.mask.sum() == 300
    assert batch.mask[:, -1].all()
    if examples == "out-of-distribution":
        assert share == 4 / 28  # hidden property 0 never occurs inside
        memory = topics.memory[:, 1:]
        columns = [set(row.tolist()) for row in memory]
        parts = [*prompts.tokens[:, :24].view(-1, 4, 6)[..., :5].flatten(0, 1).tolist()]
        assert all(any(set(part) <= column for column in columns) for part in parts)
    else:
        assert share > 4 / 28
        starts = topics.memory[:, prompts.start].T  # (n, entities)
        firsts = prompts.tokens[:, ::6]
        assert (firsts[..., None] == starts[:, None]).any(-1).all()
        assert prompts.possible.all()
        assert set(prompts.start.tolist()) == set(range(1, 10))
    assert stats.chisquare(prompts.topic.bincount(minlength=5).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("examples", EXAMPLES)
def test_prompts_are_paired_and_addressed(kit, examples):
    source = kit.make("ginc")
    topics = kit.topics_of(source, range(1, 8))
    before = torch.get_rng_state()
    many, few = (source.prompts(topics, shots, 5, 40, Key.root(2), examples) for shots in (8, 3))
    assert torch.equal(few.tokens[:, :18], many.tokens[:, :18])
    assert torch.equal(few.tokens[:, -4:], many.tokens[:, -4:])
    for name in ("label", "possible", "answer", "topic", "start"):
        assert torch.equal(getattr(few, name), getattr(many, name))
    assert torch.equal(source.prompts(topics, 8, 5, 7, Key.root(2), examples).tokens, many.tokens[:7])
    assert not torch.equal(source.prompts(topics, 8, 5, 40, Key.root(3), examples).tokens, many.tokens)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("fields", [{}, {"topic_entities": True}, {"entities": 2, "properties": 3, "symbols": 4}])
def test_labels_are_the_topics_own_guess(kit, examples, fields):
    source = kit.make("ginc", **fields)
    topics = kit.topics_of(source, [1, 2, 3])
    prompts = source.prompts(topics, 1, 4, 60, Key.root(7), examples)
    shown = topics.memory.flatten()
    for row in range(60):
        k = int(prompts.topic[row])
        entity = topics.entity_moves if topics.entity_moves.ndim == 2 else topics.entity_moves[k]
        chain = torch.kron(entity, topics.property_moves[k])
        at_start = torch.arange(len(shown)) % topics.properties == prompts.start[row]
        start = torch.ones(len(shown)) if examples == "out-of-distribution" else at_start
        belief = start.double() / start.sum()
        for step, token in enumerate(prompts.tokens[row, -3:].tolist()):
            belief = (belief if step == 0 else belief @ chain) * (shown == token)
        assert bool(prompts.possible[row]) == bool(belief.sum() > 0)
        chance = torch.zeros(topics.symbols, dtype=torch.float64).index_add_(0, shown, belief @ chain)
        best = float(chance.max())
        if best == 0:
            assert prompts.label[row] == 0
            continue
        assert float(chance[prompts.label[row]]) == pytest.approx(best, rel=1e-12)
        assert (chance[: prompts.label[row]] < best * (1 + 1e-12)).all()


def test_lowest_index_wins_ties(kit):
    """With fast entities from one permutation everything is certain or tied."""
    source = kit.make("ginc", entities=6, properties=2, symbols=5, permutations=1, transition_temperature=1.0)
    topics = kit.topics_of(source, [1])
    memory = topics.memory.clone()
    memory[:, 1] = torch.tensor([1, 1, 1, 1, 2, 3])
    topics = type(topics)(
        memory=memory,
        symbols=5,
        start=topics.start,
        property_moves=torch.eye(2, dtype=torch.float64)[None],
        entity_moves=torch.full((6, 6), 1 / 6, dtype=torch.float64),
        prompt_property_moves=torch.full((1, 2, 2), 0.5, dtype=torch.float64),
        prompt_entity_moves=torch.eye(6, dtype=torch.float64),
        numbers=topics.numbers,
    )
    prompts = source.prompts(topics, 0, 2, 200, Key.root(0))
    assert set(prompts.tokens.flatten().tolist()) == {1, 2, 3}
    assert (prompts.label == 0).all()  # the delimiter and the token itself are equally likely
    assert prompts.possible.all()


@pytest.mark.parametrize("symbols", [50, 100, 150])
def test_share_of_impossible_test_inputs(kit, symbols):
    source, topics = published(kit, range(6, 11), symbols=symbols)
    for length, percent in IMPOSSIBLE[symbols].items():
        prompts = source.prompts(topics, 0, length, 2000, Key.root(5), "out-of-distribution")
        share, printed = 1 - float(prompts.possible.double().mean()), percent / 100
        error = (printed * (1 - printed) * (1 / 2000 + 1 / 1000)) ** 0.5
        assert abs(share - printed) < 3 * error + 0.005
        assert (prompts.label[~prompts.possible] == 0).all()


def test_mixture_reads_prompts(kit):
    """What the metric does: the exact mixture predicts the token after a prompt, or has no history left."""
    source, topics = published(kit, range(1, 6))
    prompts = source.prompts(topics, 0, 8, 400, Key.root(1))
    law = source.mixture(topics, torch.ones(5, dtype=torch.float64)).distribution(prompts.batch()).log_probs[:, -1]
    assert torch.isfinite(law.exp().sum(1)).all()  # a test input alone is a possible document
    accuracy = float((law.argmax(1) == prompts.label).double().mean())
    majority = float(prompts.label.bincount().max()) / 400
    assert accuracy > 0.6 > 2 * majority


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"length": 1}, "length"), ({"shots": -1}, "shots"), ({"examples": "ood"}, "examples")],
)
def test_bad_prompts_name_the_argument(kit, changes, word):
    source = kit.make("ginc")
    topics = kit.topics_of(source, [1])
    arguments = {"shots": 2, "length": 3, "examples": "in-distribution", **changes}
    with pytest.raises(ValueError, match=f"^{word}: "):
        source.prompts(topics, count=3, key=Key.root(0), **arguments)


def test_prompt_lengths():
    for shots, length in itertools.product((0, 1, 64), (3, 10)):
        assert prompt_length(shots, length) == (length + 1) * shots + length - 1
