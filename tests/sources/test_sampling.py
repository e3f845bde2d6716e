"""Samplers against likelihoods, and what a sequence must not depend on."""

import itertools

import pytest
import torch
from scipy import stats

from iclkit.api import Key

BLOCK = 4


def sources(kit):
    half = (((0.5, 0.0), (0.2, 0.3)), ((0.0, 0.5), (0.1, 0.4)))
    beta, golden = kit.component("coins", alpha=0.5, beta=2.0), kit.component("golden-mean", p=0.3)
    biased, three = kit.component("coins", biases=(0.1, 0.6), weights=(3.0, 1.0)), kit.component("mess3")
    return {
        "coins listed": kit.component("coins", biases=(0.2, 0.9)),
        "coins drawn": beta,
        "hmm": kit.component("hmm", matrices=half, start=(0.9, 0.1)),
        "golden-mean": golden,
        "even": kit.component("even", p=0.4),
        "mess3": three,
        "mr-name": kit.component("mr-name", names=3),
        "coin": kit.component("coin", p=0.2),
        "golden-mean (2, 3)": kit.component("golden-mean", p=0.4, ones=2, zeros=3),
        "teddy-bear": kit.component("teddy-bear"),
        "sns": kit.component("sns", p=0.3),
        "zero-one-random": kit.component("zero-one-random", p=0.3),
        "rrxor": kit.component("rrxor", p1=0.3),
        "leaky-rrxor": kit.component("leaky-rrxor"),
        "matching-parens": kit.component("matching-parens", n=2),
        "days-of-week": kit.component("days-of-week"),
        "fanizza": kit.component("fanizza"),
        "post-quantum": kit.component("post-quantum"),
        "tom-quantum": kit.component("tom-quantum"),
        "random-hmm": kit.component("random-hmm"),
        "markov": kit.component("markov", vocabulary=3, concentration=0.3),
        "markov of order 2": kit.component("markov", vocabulary=2, order=2),
        "dice drawn": kit.component("dice", sides=3, concentrations=(0.5, 1.0, 3.0)),
        "dice listed": kit.component("dice", faces=((0.1, 0.0, 0.9), (0.3, 0.7, 0.0))),
        "mixture compiled": kit.component(
            "mixture", components=(biased, three), weights=(1.0, 2.0), vocabularies=((1, 3), (0, 1, 2))
        ),
        "mixture drawn": kit.component(
            "mixture", components=(beta, biased, golden), vocabularies=((0, 2), (2, 1), (1, 0))
        ),
    }


NAMES = (
    "coins listed",
    "coins drawn",
    "hmm",
    "golden-mean",
    "even",
    "mess3",
    "mr-name",
    "coin",
    "golden-mean (2, 3)",
    "teddy-bear",
    "sns",
    "zero-one-random",
    "rrxor",
    "leaky-rrxor",
    "matching-parens",
    "days-of-week",
    "fanizza",
    "post-quantum",
    "tom-quantum",
    "random-hmm",
    "markov",
    "markov of order 2",
    "dice drawn",
    "dice listed",
    "mixture compiled",
    "mixture drawn",
)


def drawn(kit, source, topic_count, sequences, length, offset=0, seed=0):
    topics = kit.topics_of(source, range(1 + offset, topic_count + 1 + offset), seed)
    topic = torch.arange(topic_count).repeat_interleave(sequences)
    number = torch.arange(1, sequences + 1).repeat(topic_count)
    return kit.draw(source, topics, topic, length, seed, number)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_have_the_oracles_frequencies(kit, name):
    """Chi-square of the frequencies of blocks of four tokens, given the topic, pooled over three topics."""
    part = sources(kit)[name]
    source = part.build()
    count = len(getattr(part.facts.topics, "weights", (1, 1, 1)))
    per_topic = 6000
    batch = drawn(kit, source, count, per_topic, BLOCK, seed=11)
    size = part.facts.space.size
    words = torch.tensor(list(itertools.product(range(size), repeat=BLOCK)))
    place = size ** torch.arange(BLOCK - 1, -1, -1)
    statistic = freedom = 0.0
    for k in range(count):
        law = source.oracle().log_prob(kit.batch_of(words, batch.topics, [k] * len(words)))
        law = law.nan_to_num(nan=-torch.inf).sum(1).exp()
        assert float(law.sum()) == pytest.approx(1, abs=1e-12)
        seen = torch.bincount((batch.tokens[batch.topic == k] * place).sum(1), minlength=len(words)).double()
        assert not seen[law == 0].any()
        expected = law * per_topic
        rare = expected < 5
        groups = [(seen[~rare], expected[~rare]), (seen[rare].sum()[None], expected[rare].sum()[None])]
        for got, want in groups:
            keep = want > 1
            statistic += float(((got - want)[keep] ** 2 / want[keep]).sum())
            freedom += int(keep.sum())
        freedom -= 1
    if freedom > 0:
        assert stats.chi2(freedom).sf(statistic) > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_a_sequence_is_a_function_of_its_address(kit, name):
    part = sources(kit)[name]
    source, drawn_family = part.build(), not hasattr(part.facts.topics, "weights")
    count = 12 if drawn_family else len(part.facts.topics.weights)
    before = torch.get_rng_state()
    full = drawn(kit, source, count, 7, 50)
    assert torch.equal(torch.get_rng_state(), before)

    assert torch.equal(drawn(kit, source, count, 7, 23).tokens, full.tokens[:, :23])
    fewer = drawn(kit, source, count, 3, 50)
    assert torch.equal(fewer.tokens, full.tokens[full.number <= 3])
    first = drawn(kit, source, 1, 7, 50)
    assert torch.equal(first.tokens, full.tokens[:7])
    if count > 2:
        later = drawn(kit, source, count - 2, 7, 50, offset=2)
        assert torch.equal(later.tokens, full.tokens[14:])
    rows = torch.tensor([5, 0, 3])
    picked = kit.draw(source, full.topics, full.topic[rows], 50, number=full.number[rows])
    assert torch.equal(picked.tokens, full.tokens[rows])
    chosen = full.topics[full.topic[rows]]
    again = kit.draw(source, chosen, torch.arange(3), 50, number=full.number[rows])
    assert torch.equal(again.tokens, full.tokens[rows])


def test_extreme_draws_never_reach_an_impossible_token(monkeypatch, kit):
    source, topics, _ = kit.listed("hmm", matrices=(((0.0,),), ((0.3,),), ((0.0,),), ((0.7,),), ((0.0,),)))
    for draw, token in ((0.0, 1), (1 - 2.0**-53, 3)):
        monkeypatch.setattr(
            Key,
            "uniform",
            lambda key, *shape, draw=draw: torch.full((*key.states.shape, *shape), draw, dtype=torch.float64),
        )
        assert (kit.draw(source, topics, [0, 0], 5).tokens == token).all()
