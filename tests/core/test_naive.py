"""Naive predictors: counting by hand, marginals by enumeration, the first paper's plateaus, retrieval as Bayes."""

import itertools
import math
import time
from pathlib import Path

import pytest
import torch

from iclkit.api import Batch, Key, kl
from iclkit.bigrams import estimate_bigrams, exact_bigrams
from iclkit.naive import ContextBigram, ContextUnigram, StaticBigram, StaticUnigram, naive_predictors
from iclkit.retrieval import BigramRetrieval, UnigramRetrieval
from iclkit.strict import Structurer

F64 = torch.float64


def batch_of(tokens, topic=None, topics=None):
    tokens = torch.as_tensor(tokens)
    return Batch(
        tokens=tokens,
        mask=torch.ones(tokens.shape, dtype=torch.bool),
        topics=topics,
        topic=torch.zeros(len(tokens), dtype=torch.int64) if topic is None else topic,
        number=torch.arange(1, len(tokens) + 1),
    )


def random_tokens(rows, length, size, seed=0):
    return Key.root(seed).fold(torch.arange(rows)).integers(size, length)


def simplex(*shape, seed=0):
    drawn = -torch.log1p(-Key.root(seed).uniform(*shape))
    return drawn / drawn.sum(-1, keepdim=True)


@pytest.fixture(scope="module")
def sources(found):
    structurer = Structurer(found.registry, Path.cwd())

    def make(kind, **fields):
        part = structurer.component("source", {"kind": kind, **fields})
        return part.build(), part.facts

    return make


def topics_of(source, count, seed=0):
    numbers = torch.arange(1, count + 1)
    return source.topics(numbers, Key.root(seed).fold("topics").fold(numbers))


def draw(source, topics, topic, length, seed=0):
    number = torch.arange(1, len(topic) + 1)
    key = Key.root(seed).fold("sequences").fold(topics.numbers[topic]).fold(number)
    tokens, _ = source.sample(topics, topic, number, length, key)
    return batch_of(tokens, topic, topics)


# ---------------------------------------------------------------- counting


@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_context_predictors_count_by_hand(alpha):
    size, tokens = 4, random_tokens(7, 25, 4)
    unigram = ContextUnigram(size, alpha).distribution(batch_of(tokens)).log_probs.exp()
    bigram = ContextBigram(size, alpha).distribution(batch_of(tokens)).log_probs.exp()
    for row, sequence in enumerate(tokens.tolist()):
        for place in range(25):
            past = sequence[:place]
            followers = [b for a, b in itertools.pairwise(past) if a == past[-1]] if past else []
            for token in range(size):
                hand = (past.count(token) + alpha) / (place + size * alpha)
                assert unigram[row, place, token].item() == pytest.approx(hand, rel=1e-14)
                hand = (followers.count(token) + alpha) / (len(followers) + size * alpha)
                assert bigram[row, place, token].item() == pytest.approx(hand, rel=1e-14)


def test_the_first_prediction_is_uniform():
    for predictor in (ContextUnigram(5), ContextBigram(5)):
        first = predictor.distribution(batch_of(random_tokens(3, 4, 5))).log_probs[:, 0]
        torch.testing.assert_close(first, torch.full((3, 5), -math.log(5), dtype=F64))


def test_a_prediction_does_not_know_its_future():
    tokens = random_tokens(5, 30, 3)
    for predictor in (ContextUnigram(3), ContextBigram(3)):
        whole = predictor.distribution(batch_of(tokens)).log_probs
        begun = predictor.distribution(batch_of(tokens[:, :11])).log_probs
        assert torch.equal(whole[:, :11], begun)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.inf, math.nan])
def test_alpha_must_be_positive(alpha):
    for make in (ContextUnigram, ContextBigram):
        with pytest.raises(ValueError, match="must be positive and finite"):
            make(3, alpha)


def test_context_bigram_is_the_population_of_dirichlet_chains(sources):
    source, _ = sources("markov", vocabulary=3)
    topics = topics_of(source, 6)
    batch = draw(source, topics, torch.arange(6), 40)
    exact = source.population().distribution(batch).log_probs
    torch.testing.assert_close(ContextBigram(3).distribution(batch).log_probs, exact, rtol=0, atol=1e-13)


def test_context_bigram_tends_to_the_true_chain(sources):
    source, _ = sources("markov", vocabulary=3)
    topics = topics_of(source, 8)
    batch = draw(source, topics, torch.arange(8), 4000)
    away = kl(source.oracle().distribution(batch), ContextBigram(3).distribution(batch)).mean(0)
    assert away[2000:].mean() < away[200:300].mean() / 5
    # a row of V entries seen n times costs about (V - 1) / (2 n): over V rows, V (V - 1) / (2 l)
    assert away[3000:].mean().item() == pytest.approx(3 * 2 / 2 / 3500, rel=0.5)


def test_a_chunk_of_evaluation_is_fast():
    batch = batch_of(random_tokens(16, 512, 150))
    start = time.process_time()
    ContextBigram(150).distribution(batch)
    assert time.process_time() - start < 2  # about .05 s; a table (B, V, V) per position takes minutes


# ---------------------------------------------------------------- static marginals


def neighbours_by_enumeration(source, topics, length, size):
    """Return the first token's law and the mean law of neighbours, from the probability of every word."""
    words = torch.tensor(list(itertools.product(range(size), repeat=length)))
    first, pairs = torch.zeros(len(topics), size, dtype=F64), torch.zeros(len(topics), size, size, dtype=F64)
    for k in range(len(topics)):
        chances = source.oracle().log_prob(batch_of(words, torch.full((len(words),), k), topics))
        chances = chances.nan_to_num(nan=-torch.inf).sum(1).exp()
        first[k].index_add_(0, words[:, 0], chances)
        for place in range(1, length):
            pairs[k].view(-1).index_add_(0, words[:, place - 1] * size + words[:, place], chances / (length - 1))
    return first, pairs


@pytest.mark.parametrize(
    ("kind", "fields", "count", "length"),
    [
        ("coins", {"biases": [0.2, 0.7]}, 2, 4),
        ("coins", {}, 3, 4),
        ("dice", {}, 3, 4),
        ("markov", {"vocabulary": 3}, 2, 5),
        ("markov", {"vocabulary": 2, "order": 2}, 2, 6),
        ("markov", {"vocabulary": 2, "order": 3}, 2, 3),
        ("mr-name", {}, 2, 4),
        ("mess3", {}, 1, 4),
        ("even", {}, 1, 6),
        ("random-hmm", {"states": 3, "vocabulary": 3}, 2, 4),
        ("ginc", {"entities": 2, "properties": 2, "symbols": 3}, 2, 5),
        ("ginc", {"random_data": True, "symbols": 3}, 2, 3),
        ("hmm", {"matrices": [[[0.1, 0.2], [0.0, 0.6]], [[0.3, 0.4], [0.4, 0.0]]], "start": [1.0, 0.0]}, 1, 5),
    ],
)
def test_exact_marginals_are_those_of_all_words(sources, kind, fields, count, length):
    source, facts = sources(kind, **fields)
    topics = topics_of(source, count)
    exact = exact_bigrams(source, topics, length)
    first, pairs = neighbours_by_enumeration(source, topics, length, facts.space.size)
    torch.testing.assert_close(exact.first, first, rtol=0, atol=1e-12)
    torch.testing.assert_close(exact.pairs, pairs, rtol=0, atol=1e-12)
    torch.testing.assert_close(exact.unigram, (first + (length - 1) * pairs.sum(1)) / length, rtol=0, atol=1e-12)


def test_the_plateaus_of_the_name_mixture(sources):
    source, facts = sources("mr-name")
    topics, weights = topics_of(source, 2), torch.tensor([0.5, 0.5], dtype=F64)
    naive = naive_predictors(source, facts, topics, weights, iter(()), length=16)
    batch = draw(source, topics, torch.arange(2).repeat_interleave(2000), 16)
    unigram, bigram = (
        source.oracle().distribution(batch).log_probs.exp().mul(-naive[name].distribution(batch).log_probs).nansum(-1)
        for name in ("static-unigram", "static-bigram")
    )
    assert unigram.mean().item() == pytest.approx(1.4452, abs=3e-3)
    assert bigram[:, 1:].mean().item() == pytest.approx(0.9514, abs=3e-3)
    law = naive["static-unigram"].distribution(batch).log_probs[0, 0].exp()
    torch.testing.assert_close(law, torch.tensor([1 / 6, 1 / 3, 1 / 3, 1 / 12, 1 / 12], dtype=F64))
    assert -(law * law.log()).sum().item() == pytest.approx(math.log(6) / 6 + 2 * math.log(3) / 3 + math.log(12) / 6)
    pairs = exact_bigrams(source, topics, 16).mean(weights)
    rows = -(pairs.pairs * pairs.transitions.log()).nansum()
    assert rows.item() == pytest.approx(0.9513977, abs=1e-5)  # h_2 = h + ln(2) / 6
    after_mr = pairs.transitions[0, 0]
    torch.testing.assert_close(after_mr, torch.tensor([0, 0, 0, 0.5, 0.5], dtype=F64))


def test_static_predictors_look_up():
    probabilities, transitions, first = simplex(3), simplex(3, 3, seed=1), simplex(3, seed=2)
    batch = batch_of([[2, 0, 1]])
    unigram, bigram = StaticUnigram(probabilities), StaticBigram(transitions, first)
    torch.testing.assert_close(unigram.log_prob(batch)[0].exp(), probabilities[[2, 0, 1]])
    hand = torch.stack([first[2], transitions[2, 0], transitions[0, 1]])
    torch.testing.assert_close(bigram.log_prob(batch)[0].exp(), hand)
    for predictor in (unigram, bigram):
        torch.testing.assert_close(predictor.distribution(batch).log_prob(batch.tokens), predictor.log_prob(batch))


@pytest.mark.parametrize("known", [True, False], ids=["averaging the oracle", "counting tokens"])
def test_estimates_tend_to_the_exact(sources, known):
    source, facts = sources("mr-name")
    topics = topics_of(source, 2)
    batches = [draw(source, topics, torch.arange(2).repeat(200), 50, seed=seed) for seed in range(5)]
    exact = exact_bigrams(source, topics, 50)
    found = estimate_bigrams(batches, facts.space.size, source.oracle() if known else None, topics)
    assert (found.unigram - exact.unigram).abs().max() < 3e-3
    assert (found.pairs - exact.pairs).abs().max() < 3e-3
    together = estimate_bigrams(batches, facts.space.size, source.oracle() if known else None)
    mean = exact.mean(torch.ones(2, dtype=F64))
    assert (together.unigram - mean.unigram).abs().max() < 3e-3
    assert torch.isfinite(together.transitions).all()


def test_topics_are_told_by_their_numbers(sources):
    source, _ = sources("coins", biases=[0.1, 0.5, 0.9])
    topics = topics_of(source, 3)
    batch = draw(source, topics, torch.arange(3).repeat(300), 40)
    found = estimate_bigrams([batch], 2, topics=topics[torch.tensor([2, 0])])
    torch.testing.assert_close(found.unigram[:, 1], torch.tensor([0.9, 0.1], dtype=F64), rtol=0, atol=0.01)


def test_unscored_positions_do_not_count():
    tokens = torch.tensor([[0, 1, 2, 1]])
    batch = batch_of(tokens).replace(mask=torch.tensor([[False, True, False, True]]))
    found = estimate_bigrams([batch], 3)
    expected = torch.full((3, 3), 1 / 3, dtype=F64)
    expected[0, 1] += 1
    expected[2, 1] += 1
    torch.testing.assert_close(found.pairs[0], expected / expected.sum())
    torch.testing.assert_close(found.first[0], torch.full((3,), 1 / 3, dtype=F64))


# ---------------------------------------------------------------- retrieval


def bayes(rows, first, weights, sequence, place):
    """Return the mixture's prediction after sequence[:place], from joint probabilities."""
    joint = weights.clone()
    before = [None, *sequence]
    for at in range(place):
        joint = joint * (first[:, sequence[at]] if at == 0 else rows[:, before[at], sequence[at]])
    shown = first if place == 0 else rows[:, sequence[place - 1]]
    return (joint / joint.sum()) @ shown


def test_retrieval_is_bayes_over_marginals():
    rows, first, weights = simplex(4, 3, 3), simplex(4, 3, seed=1), torch.tensor([1.0, 2.0, 3.0, 0.5], dtype=F64)
    batch = batch_of(random_tokens(6, 12, 3))
    bigram = BigramRetrieval(rows, first, weights).distribution(batch).log_probs.exp()
    unigram = UnigramRetrieval(first, weights).distribution(batch).log_probs.exp()
    alike = first[:, None].expand(4, 3, 3)
    for row, sequence in enumerate(batch.tokens.tolist()):
        for place in range(12):
            torch.testing.assert_close(bigram[row, place], bayes(rows, first, weights, sequence, place))
            torch.testing.assert_close(unigram[row, place], bayes(alike, first, weights, sequence, place))


def test_retrieval_keeps_what_float64_weights_cannot_hold():
    unigram = torch.tensor([[0.999, 0.001, 0.0], [0.001, 0.998, 0.001]], dtype=F64)
    tokens = torch.zeros(1, 400, dtype=torch.int64)
    tokens[0, -2] = 1  # seen, so that the second topic's weight is about 10^-1200; token 2 needs it
    found = UnigramRetrieval(unigram, torch.ones(2, dtype=F64)).distribution(batch_of(tokens)).log_probs
    assert torch.isfinite(found).all()
    assert found[0, -1, 2] < -2000
    torch.testing.assert_close(found.logsumexp(-1), torch.zeros(1, 400, dtype=F64), atol=1e-12, rtol=0)


def test_what_no_topic_allows_is_impossible():
    rows = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.5, 0.5]]], dtype=F64)
    retrieval = BigramRetrieval(rows, torch.full((2, 2), 0.5, dtype=F64), torch.ones(2, dtype=F64))
    found = retrieval.log_prob(batch_of([[0, 0, 1], [1, 1, 0]]))
    assert found[0, 1] == -torch.inf
    assert found[0, 2].isnan()
    assert found[1].tolist() == pytest.approx([math.log(0.5), math.log(0.25), math.log(0.5)])


def test_retrieval_of_the_name_mixture_knows_the_name(sources):
    """The topic shows only in the name, which the bigram after Mr. tells: retrieval is the exact mixture."""
    source, facts = sources("mr-name")
    topics, weights = topics_of(source, 2), torch.ones(2, dtype=F64)
    naive = naive_predictors(source, facts, topics, weights, iter(()), length=12)
    batch = draw(source, topics, torch.arange(2).repeat(20), 12)
    exact = source.mixture(topics, weights).distribution(batch)
    away = kl(exact, naive["bigram-retrieval"].distribution(batch))
    torch.testing.assert_close(away, torch.zeros_like(away), rtol=0, atol=1e-12)
    assert kl(exact, naive["static-bigram"].distribution(batch))[:, -1].mean() > 0.05


# ---------------------------------------------------------------- which there are


ALL = ["uniform", "static-unigram", "static-bigram", "context-unigram", "context-bigram"]
RETRIEVAL = ["unigram-retrieval", "bigram-retrieval"]


@pytest.mark.parametrize("kind", ["coins", "markov", "random-hmm", "ginc", "induction", "switching"])
def test_every_kind_of_source_gets_its_naive_predictors(sources, kind):
    fields = {"source": {"kind": "coins", "biases": [0.2, 0.8]}} if kind == "switching" else {}
    source, facts = sources(kind, **fields)
    single = kind in ("induction", "switching")
    topics = topics_of(source, 1 if single else 3)
    weights = torch.ones(len(topics), dtype=F64)
    batch = draw(source, topics, torch.arange(30) % len(topics), 24)
    naive = naive_predictors(source, facts, topics, weights, iter([batch]), length=24)
    assert list(naive) == ALL + ([] if single else RETRIEVAL)
    for predictor in naive.values():
        distribution = predictor.distribution(batch)
        torch.testing.assert_close(distribution.log_probs.exp().sum(-1), torch.ones(30, 24, dtype=F64))
        torch.testing.assert_close(distribution.log_prob(batch.tokens), predictor.log_prob(batch))
        assert torch.isfinite(predictor.log_prob(batch)).all()
    fresh = naive_predictors(source, facts, None, None, iter([batch]), length=24)
    assert list(fresh) == ALL


def test_a_sample_is_drawn_only_where_it_is_needed(sources):
    def refuse():
        raise AssertionError("sampled")
        yield

    source, facts = sources("coins", biases=[0.2, 0.8])
    naive_predictors(source, facts, topics_of(source, 2), torch.ones(2, dtype=F64), refuse(), length=8)
    with pytest.raises(AssertionError, match="sampled"):
        naive_predictors(source, facts, None, None, refuse(), length=8)


def test_real_tokens_have_none(sources):
    source, facts = sources("lds")
    assert naive_predictors(source, facts, None, None, iter(()), length=8) == {}
