"""Exact floors against the paper sheet (arXiv 2505.18373), closed forms and brute force."""

import itertools
import math

import numpy as np
import pytest
import torch

LN2 = math.log(2)
PRINTED = {  # table 2.4: n coins of biases i/(n+1), nats
    2: {1: 0.69315, 2: 0.68696, 3: 0.68196, 5: 0.67399, 10: 0.66083, 20: 0.64774, 50: 0.63792, 100: 0.63657},
    10: {1: 0.69315, 2: 0.65548, 3: 0.63277, 5: 0.60680, 10: 0.57988, 20: 0.56274, 50: 0.55074, 100: 0.54630},
}


def binary_entropy(p):
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


def population(source, length):
    return source.optimum("population", None, None, length)


@pytest.mark.parametrize("n", [2, 10])
def test_coins_reach_the_printed_floors(kit, n):
    source, topics, weights = kit.listed("coins", biases=tuple(i / (n + 1) for i in range(1, n + 1)))
    floor = source.optimum("mixture", topics, weights, 100)
    assert floor.method == "closed-form"
    for position, value in PRINTED[n].items():
        assert floor.values[position - 1] == pytest.approx(value, abs=1e-5)
    np.testing.assert_array_equal(floor.values, population(source, 100).values)


@pytest.mark.parametrize(("n", "length"), [(2, 600), (3, 1200)])
def test_total_in_context_learning_of_coins_is_ln_n(kit, n, length):
    source, topics, weights = kit.listed("coins", biases=tuple(i / (n + 1) for i in range(1, n + 1)))
    gain = (
        source.optimum("mixture", topics, weights, length).values
        - source.optimum("oracle", topics, weights, length).values
    )
    assert gain.sum() == pytest.approx(math.log(n), abs=1e-7)


def test_uniform_prior_reaches_the_printed_floors(kit):
    source = kit.make("coins", alpha=1.0, beta=1.0)
    floor = population(source, 1000)
    printed = {1: 0.693147, 2: 0.636514, 3: 0.605939, 10: 0.541844, 100: 0.504875, 1000: 0.500498}
    for position, value in printed.items():
        assert floor.values[position - 1] == pytest.approx(value, abs=1e-6)
    n = 99
    exact = sum(binary_entropy((k + 1) / (n + 2)) for k in range(n + 1)) / (n + 1)
    assert floor.values[n] == pytest.approx(exact, abs=1e-12)
    assert abs(floor.values[n] - exact) <= floor.error[n]


@pytest.mark.parametrize(("alpha", "beta", "value"), [(1.0, 1.0, 0.5), (0.5, 0.5, 0.38629), (2.0, 2.0, 0.58333)])
def test_mean_entropy_of_beta_coins(kit, alpha, beta, value):
    floor = kit.make("coins", alpha=alpha, beta=beta).optimum("oracle", None, None, 3)
    np.testing.assert_allclose(floor.values, value, atol=5e-6)


SEQUENCES = {  # table 2.1, bits
    "golden-mean": [0.91830, 0.66667, 0.66667],
    "even": [
        0.91830,
        0.87419,
        0.79248,
        0.77043,
        0.72957,
        0.71855,
        0.69812,
        0.69261,
        0.68239,
        0.67964,
        0.67453,
        0.67315,
    ],
}


@pytest.mark.parametrize("kind", SEQUENCES)
def test_processes_reach_the_printed_floors(kit, kind):
    floor = population(kit.make(kind), 5000)
    assert np.isfinite(floor.values).all()
    assert floor.error.max() < 1e-9
    printed = np.array(SEQUENCES[kind])
    np.testing.assert_allclose(floor.values[: len(printed)] / LN2, printed, atol=5.1e-6)
    assert floor.values[-1] == pytest.approx(2 / 3 * LN2, abs=1e-12)


@pytest.mark.parametrize("kind", SEQUENCES)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_entropy_rate_in_closed_form(kit, kind, p):
    floor = population(kit.make(kind, p=p), 800)
    assert floor.values[-1] == pytest.approx(binary_entropy(p) / (1 + p), abs=1e-9)


def test_mess3_reaches_the_printed_floors_and_stops(kit):
    floor = population(kit.make("mess3"), 64)
    np.testing.assert_allclose(floor.values[:5], [1.098612, 1.091068, 1.089391, 1.089004, 1.088915], atol=5.1e-7)
    computed = np.isfinite(floor.values)
    assert 11 <= computed.sum() < 64
    assert computed[: computed.sum()].all()
    assert floor.error[computed].max() < 1e-9


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.7, 0.2, 0.1)])
def test_name_mixture_in_closed_form(kit, weights):
    p, q, length = 0.4, 0.25, 100
    source, topics, own = kit.listed("mr-name", names=len(weights), weights=weights)
    floor = source.optimum("mixture", topics, own, length)
    names = -float((own * own.log()).sum())
    rate = (-sum(x * math.log(x) for x in (p, q, 1 - p - q)) + q * LN2) / (1 + 2 * q)
    position = np.arange(1, length + 1)
    first = np.where(position < 3, q / (1 + 2 * q), q / (1 + 2 * q) * (1 - q) ** (position - 3.0))
    np.testing.assert_allclose(floor.values[1:], (rate + first * names)[1:], atol=1e-10)
    assert floor.method == "belief-enumeration"
    if len(weights) == 2:
        printed = {1: 1.44519, 2: 0.95140, 3: 0.95140, 4: 0.92252, 5: 0.90086, 6: 0.88461, 8: 0.86329}
        printed |= {10: 0.85130, 15: 0.83954, 20: 0.83674, 30: 0.83593}
        for at, value in printed.items():
            assert floor.values[at - 1] == pytest.approx(value, abs=1e-5)
        assert floor.values.mean() == pytest.approx(0.847746, abs=1e-6)
    oracle = source.optimum("oracle", topics, own, length)
    np.testing.assert_allclose(oracle.values[1:], rate, atol=1e-10)


def random_machine(seed, tokens, states):
    weights = np.random.default_rng(seed).gamma(0.5, size=(tokens, states, states))
    weights /= weights.sum((0, 2))[:, None]
    return tuple(tuple(tuple(row) for row in matrix) for matrix in weights.tolist())


def block_entropies(machines, weights, length):
    """Return H(1) .. H(length) of a mixture by enumerating all words."""
    found = [0.0]
    for size in range(1, length + 1):
        total = 0.0
        for word in itertools.product(range(machines.vocabulary), repeat=size):
            chance = 0.0
            for k in range(len(machines)):
                vector = machines.start[k]
                for token in word:
                    vector = vector @ machines.transitions[k, token]
                chance += float(weights[k] * vector.sum())
            total -= chance * math.log(chance) if chance > 0 else 0.0
        found.append(total)
    return np.array(found)


def test_floors_are_differences_of_block_entropies(kit):
    parts = (
        kit.component("hmm", matrices=random_machine(1, 2, 3)),
        kit.component("hmm", matrices=random_machine(2, 2, 2), start=(0.3, 0.7)),
        kit.component("golden-mean", p=0.3),
    )
    source, topics, weights = kit.listed("mixture", components=parts, weights=(1.0, 2.0, 3.0))
    entropies = block_entropies(topics, weights, 7)
    floor = source.optimum("mixture", topics, weights, 7)
    np.testing.assert_allclose(floor.values, np.diff(entropies), atol=1e-12)
    singles = [np.diff(block_entropies(topics[k : k + 1], [1.0], 7)) for k in range(3)]
    oracle = source.optimum("oracle", topics, weights, 7)
    np.testing.assert_allclose(oracle.values, weights.numpy() @ np.array(singles), atol=1e-12)


def test_coins_by_enumeration_and_by_counting_agree(kit):
    from iclkit_sources.machines.enumeration import mixture_floor

    source, _, weights = kit.listed("coins", biases=(0.0, 0.2, 0.7, 1.0), weights=(1.0, 2.0, 3.0, 4.0))
    machines, _ = source.compiled()
    counted = population(source, 60)
    enumerated = mixture_floor(machines, weights, 60)
    np.testing.assert_allclose(enumerated.values, counted.values, atol=1e-11)
    mixed = kit.make(
        "mixture", components=(kit.component("coins", biases=(0.0, 0.2, 0.7, 1.0), weights=(1.0, 2.0, 3.0, 4.0)),)
    )
    np.testing.assert_allclose(population(mixed, 60).values, counted.values, atol=1e-12)
    assert population(mixed, 60).method == "closed-form"


def test_floor_is_the_mean_loss_of_the_reference(kit):
    source, topics, weights = kit.listed("coins", biases=(0.3, 0.8))
    words = torch.tensor(list(itertools.product(range(2), repeat=8)))
    log_prob = source.mixture(topics, weights).log_prob(kit.batch_of(words))
    chance = log_prob.sum(1).exp()
    floor = source.optimum("mixture", topics, weights, 8).values
    np.testing.assert_allclose(-(chance[:, None] * log_prob).sum(0).numpy(), floor, atol=1e-12)
