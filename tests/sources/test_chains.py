"""Markov chains and dice: predictors against brute force, floors against enumeration and closed forms."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from iclkit.predictors import mixture_over
from iclkit_sources.chains import floors as chain_floors


def words_of(size, length):
    return torch.tensor(list(itertools.product(range(size), repeat=length)))


def chain_chance(rows, word, size, order):
    """Return Pr(word) of a chain with rows {context: probabilities} by its definition."""
    chance = float(size) ** -min(order, len(word))
    for position in range(order, len(word)):
        chance *= rows[tuple(word[position - order : position])][word[position]]
    return chance


def tables(topics, size, order):
    """Return each topic's rows as {context: probabilities}; the last token of a context counts least."""
    contexts = list(itertools.product(range(size), repeat=order))
    return [dict(zip(contexts, chain.exp().tolist(), strict=True)) for chain in topics.log_rows]


CHAINS = [(2, 1), (2, 3), (3, 1), (3, 2)]


@pytest.mark.parametrize(("size", "order"), CHAINS)
@pytest.mark.parametrize("cells", [1, 40, 1 << 20])
def test_oracle_and_mixture_are_bayes_rule(kit, monkeypatch, size, order, cells):
    monkeypatch.setattr("iclkit_sources.chains.predictors._CELLS", cells)
    source = kit.make("markov", vocabulary=size, order=order, concentration=0.6)
    topics = kit.topics_of(source, range(1, 5))
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    length = 5 if size == 2 else 4
    words = words_of(size, length)[:: 1 if cells > 1 else 7]
    rows = tables(topics, size, order)
    joint = np.array(
        [
            [[chain_chance(each, word[:stop], size, order) for stop in range(length + 1)] for word in words.tolist()]
            for each in rows
        ]
    )  # (K, B, T+1)
    batch = kit.batch_of(words, topics, [row % 4 for row in range(len(words))])
    own = joint[np.arange(len(words)) % 4, np.arange(len(words))]
    np.testing.assert_allclose(source.oracle().log_prob(batch), np.diff(np.log(own)), atol=1e-12)
    mixed = np.diff(np.log(np.einsum("k,kbt->bt", weights.numpy() / 10, joint)))
    for chunk in (1, 3, 64):
        predictor = mixture_over(source, topics, weights, chunk)
        np.testing.assert_allclose(predictor.log_prob(batch), mixed, atol=1e-12)
        merged = predictor.distribution(batch).log_prob(batch.tokens)
        np.testing.assert_allclose(merged, mixed, atol=1e-12)
    direct = source.mixture(topics, weights)
    for known, expected in ((source.oracle(), np.diff(np.log(own))), (direct, mixed)):
        log_probs = known.distribution(batch)
        np.testing.assert_allclose(log_probs.log_prob(batch.tokens), expected, atol=1e-12)
        np.testing.assert_allclose(log_probs.log_probs.exp().sum(-1), 1, atol=1e-12)
    posterior = weights.numpy()[:, None] * joint[:, :, -1]
    np.testing.assert_allclose(direct.posterior(batch).T, posterior / posterior.sum(0), atol=1e-12)


def dirichlet_multinomial(counts, prior):
    """Return ln of the probability of a word with these counts."""
    return (
        special.gammaln(sum(prior))
        - special.gammaln(sum(prior) + sum(counts))
        + sum(special.gammaln(n + a) - special.gammaln(a) for n, a in zip(counts, prior, strict=True))
    )


def conjugate(word, prior, order):
    counts = {}
    for position in range(order, len(word)):
        row = counts.setdefault(tuple(word[position - order : position]), [0] * len(prior))
        row[word[position]] += 1
    start = -min(order, len(word)) * math.log(len(prior))
    return start + sum(dirichlet_multinomial(row, prior) for row in counts.values())


@pytest.mark.parametrize(("prior", "order"), [((0.5, 1.0, 2.0), 1), ((1.5, 0.3), 2), ((0.2, 0.9, 3.0), 0)])
def test_population_is_dirichlet_multinomial(kit, prior, order):
    if order:
        source = kit.make("markov", vocabulary=len(prior), order=order, concentrations=prior)
    else:
        source = kit.make("dice", sides=len(prior), concentrations=prior)
    words = words_of(len(prior), 5)
    log_prob = source.population().log_prob(kit.batch_of(words))
    laws = [[conjugate(word[:stop], prior, order) for stop in range(6)] for word in words.tolist()]
    np.testing.assert_allclose(log_prob, np.diff(laws), atol=1e-12)
    log_probs = source.population().distribution(kit.batch_of(words))
    np.testing.assert_allclose(log_probs.log_prob(words), log_prob, atol=1e-14)
    np.testing.assert_allclose(log_probs.log_probs.exp().sum(-1), 1, atol=1e-13)
    floor = source.optimum("population", None, None, 5)
    chance = np.exp(np.array(laws)[:, -1])
    assert chance.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(floor.values, -chance @ np.diff(laws), atol=1e-12)


def test_floor_of_the_oracle_over_the_family(kit):
    """Against an average over many drawn chains, each exact."""
    source = kit.make("markov", vocabulary=2, concentrations=(0.5, 1.5))
    floor = source.optimum("oracle", None, None, 12)
    topics = kit.topics_of(source, range(1, 4001))
    each = torch.full((4000,), 1 / 4000, dtype=torch.float64)
    np.testing.assert_allclose(floor.values, source.optimum("oracle", topics, each, 12).values, atol=0.015)
    mean = stats.dirichlet([0.5, 1.5]).rvs(100_000, random_state=0)
    assert floor.values[0] == math.log(2)
    assert floor.values[1] == pytest.approx(special.entr(mean).sum(1).mean(), abs=0.003)


@pytest.mark.parametrize(("size", "value"), [(3, 0.83333), (4, 1.08333), (10, 1.92897)])
def test_mean_entropy_of_dice(kit, size, value):
    source = kit.make("dice", sides=size)
    floor = source.optimum("oracle", None, None, 3)
    np.testing.assert_allclose(floor.values, value, atol=5.1e-6)
    assert floor.values[0] == pytest.approx(special.digamma(size + 1) - special.digamma(2), abs=1e-13)
    assert source.entropy_rate(None, None).values[0] == floor.values[0]


def test_a_drawn_die_of_two_sides_is_a_coin(kit):
    die, coin = kit.make("dice", sides=2, concentrations=(0.7, 2.0)), kit.make("coins", alpha=2.0, beta=0.7)
    for reference in ("population", "oracle"):
        values = [each.optimum(reference, None, None, 80).values for each in (die, coin)]
        np.testing.assert_allclose(*values, atol=1e-11)
    given = kit.make("dice", faces=((0.8, 0.2), (0.3, 0.7)), weights=(1.0, 3.0))
    coins = kit.make("coins", biases=(0.2, 0.7), weights=(1.0, 3.0))
    for reference in ("population", "oracle"):
        values = [each.optimum(reference, None, None, 80).values for each in (given, coins)]
        np.testing.assert_allclose(*values, atol=1e-11)


@pytest.mark.parametrize(
    ("kind", "fields", "coefficient", "at"),
    [
        ("dice", {"sides": 3}, 2 / 2, 150),
        ("dice", {"sides": 4, "concentration": 0.5}, 3 / 2, 60),
        ("markov", {"vocabulary": 2}, 2 / 2, 120),
    ],
)
def test_excess_tends_to_half_the_parameters_over_the_position(kit, kind, fields, coefficient, at):
    source = kit.make(kind, **fields)
    gap = source.optimum("population", None, None, at).values - source.optimum("oracle", None, None, at).values
    assert (gap[1:] > 0).all()
    assert gap[-1] * at == pytest.approx(coefficient, rel=0.12)


@pytest.mark.parametrize(("size", "order"), [(2, 1), (2, 2), (3, 1)])
def test_floors_of_known_chains_are_mean_losses(kit, size, order):
    source = kit.make("markov", vocabulary=size, order=order)
    topics = kit.topics_of(source, range(1, 4))
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    words = words_of(size, 6)
    floor = source.optimum("mixture", topics, weights, 6)
    log_prob = source.mixture(topics, weights).log_prob(kit.batch_of(words))
    np.testing.assert_allclose(floor.values, -(log_prob.sum(1).exp() @ log_prob), atol=1e-12)
    oracle = 0
    for k, weight in enumerate(weights.tolist()):
        own = source.oracle().log_prob(kit.batch_of(words, topics, [k] * len(words)))
        oracle = oracle - weight * (own.sum(1).exp() @ own)
    np.testing.assert_allclose(source.optimum("oracle", topics, weights, 6).values, oracle, atol=1e-12)
    late = source.optimum("oracle", topics, weights, 400).values[-1]
    rate = source.entropy_rate(topics, weights)
    assert rate.values[0] == pytest.approx(late, abs=1e-9)
    assert source.entropy_rate(None, None) is None


def test_budgets_end_in_nan(kit, monkeypatch):
    monkeypatch.setattr(chain_floors, "WORDS", 1000)
    monkeypatch.setattr(chain_floors, "STEPS", 200)
    source = kit.make("markov", vocabulary=3)
    topics = kit.topics_of(source, [1, 2])
    weights = torch.ones(2, dtype=torch.float64)
    for reference, where in (("population", (None, None)), ("oracle", (topics, weights))):
        floor = source.optimum(reference, *where, 40)
        known = np.isfinite(floor.values)
        assert 3 <= known.sum() < 40
        assert known[: known.sum()].all()
        assert (np.isfinite(floor.error) == known).all()
    large = kit.make("markov", vocabulary=50, order=2)
    assert np.isfinite(large.optimum("population", None, None, 5).values).sum() == 2


def test_dice_with_impossible_sides(kit):
    faces = ((0.5, 0.5, 0.0), (0.2, 0.4, 0.4))
    source, topics, weights = kit.listed("dice", faces=faces, weights=(3.0, 1.0))
    batch = kit.batch_of([[0, 2, 1, 1], [0, 1, 0, 1]], topics, [0, 0])
    oracle = source.oracle().log_prob(batch)
    assert oracle[0, 1] == -torch.inf
    assert oracle[0, 2:].isnan().all()
    assert source.oracle().distribution(batch).log_probs[0, 2:].isnan().all()
    first = 0.75 * 0.5 + 0.25 * 0.2
    mixed = source.population()
    np.testing.assert_allclose(mixed.log_prob(batch)[0], np.log([first, 0.25 * 0.2 * 0.4 / first, 0.4, 0.4]))
    alone = source.mixture(topics[:1], weights[:1])
    for log_prob in (alone.log_prob(batch), alone.distribution(batch).log_prob(batch.tokens)):
        assert log_prob[0, 1] == -torch.inf
        assert log_prob[0, 2:].isnan().all()
        np.testing.assert_allclose(log_prob[1], np.log([0.5] * 4))
    words = words_of(3, 5)
    log_prob = mixed.log_prob(kit.batch_of(words))
    chance = log_prob.nan_to_num(nan=-torch.inf, neginf=-torch.inf).sum(1).exp()
    loss = -torch.where(chance[:, None] > 0, chance[:, None] * log_prob, 0.0).sum(0)
    np.testing.assert_allclose(source.optimum("mixture", topics, weights, 5).values, loss, atol=1e-12)
    in_mixture = kit.make("mixture", components=(kit.component("dice", faces=faces, weights=(3.0, 1.0)),))
    np.testing.assert_allclose(in_mixture.population().log_prob(batch), mixed.log_prob(batch), atol=1e-13)


def test_a_die_that_was_out_of_the_question_comes_back(kit):
    source, topics, weights = kit.listed("dice", faces=((1.0, 0.0, 0.0), (0.5, 0.25, 0.25)))
    batch = kit.batch_of([[0] * 3000 + [1, 2]])
    for log_prob in (
        source.mixture(topics, weights).log_prob(batch),
        source.mixture(topics, weights).distribution(batch).log_prob(batch.tokens),
    ):
        assert float(log_prob[0, 3000]) == pytest.approx(3000 * math.log(0.5) + math.log(0.25), rel=1e-12)
        assert float(log_prob[0, 3001]) == pytest.approx(math.log(0.25), rel=1e-9)
    unseen = source.mixture(topics, weights).distribution(batch).log_probs[0, 3000, 2]
    assert float(unseen) == pytest.approx(3000 * math.log(0.5) + math.log(0.25), rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "fields", "key", "text"),
    [
        ("markov", {"vocabulary": 50, "order": 4}, "order", "makes 50^5 probabilities per topic; allowed: 4194304"),
        ("markov", {"concentrations": (1.0,)}, "concentrations", "has 1 entries, but there are 5 tokens"),
        (
            "markov",
            {"vocabulary": 2, "concentration": 1.0, "concentrations": (1.0, 1.0)},
            "concentrations",
            "leave out one of the two",
        ),
        ("dice", {"weights": (1.0,)}, "weights", "give faces too"),
        ("dice", {"faces": ()}, "faces", "at least one die"),
        ("dice", {"faces": ((0.5, 0.5),), "sides": 2}, "sides", "leave it out where faces are given"),
        ("dice", {"faces": ((0.5, 0.5), (1.0,))}, "faces[1]", "has 1 sides, but the first die has 2"),
        ("dice", {"faces": ((0.5, 0.4),)}, "faces[0]", "sum to 1, not to 0.9"),
        ("dice", {"faces": ((0.5, 0.5),), "weights": (1.0, 2.0)}, "weights", "has 2 entries, but there are 1 faces"),
        ("dice", {"sides": 3, "concentrations": (1.0,)}, "concentrations", "has 1 entries, but there are 3 tokens"),
    ],
)
def test_bad_parameters_name_the_field(kit, kind, fields, key, text):
    assert text in kit.problems(kind, **fields)[key]
