"""Switching sources against sums over all switches, topics and states."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from iclkit.api import ConfigError, Key
from iclkit.predictors import mixture_over
from iclkit_sources.machines.listed import MachineSource
from iclkit_sources.machines.stack import Machines
from iclkit_sources.switching.change_points import ChangePoints

RATE = 0.3


def mixed(kit):
    """Two machines of two states and a coin, over three tokens."""
    return kit.component(
        "mixture",
        components=(
            kit.component("golden-mean", p=0.4),
            kit.component("even", p=0.6),
            kit.component("coins", biases=(0.7,)),
        ),
        weights=(2.0, 1.0, 1.0),
        vocabularies=((0, 1), (1, 2), (2, 0)),
    )


def probability(pool, weights, rate, word):
    """Return Pr(word) by the law itself: a sum over where the switches are, every segment on its own."""

    def segment(part):
        total = 0.0
        for k, weight in enumerate(weights):
            belief = pool.start[k]
            for token in part:
                belief = belief @ pool.transitions[k, token]
            total += weight * float(belief.sum())
        return total

    total = 0.0
    for switches in itertools.product((False, True), repeat=len(word) - 1):
        chance, first = 1.0, 0
        for place, switched in enumerate(switches, start=1):
            chance *= rate if switched else 1 - rate
            if switched:
                chance *= segment(word[first:place])
                first = place
        total += chance * segment(word[first:])
    return total


@pytest.fixture(scope="module")
def law(kit):
    inner = mixed(kit)
    pool, weights = inner.build().compiled()
    words = [word for seen in range(1, 6) for word in itertools.product(range(3), repeat=seen)]
    return {(): 1.0} | {word: probability(pool, weights.tolist(), RATE, word) for word in words}


def test_filter_is_the_sum_over_all_switches(kit, law):
    source, topics, weights = kit.listed("switching", source=mixed(kit), rate=RATE)
    words = [word for word in law if len(word) == 5]
    batch = kit.batch_of(words, topics)
    for predictor in (source.oracle(), mixture_over(source, topics, weights), source.population()):
        log_prob, chance = predictor.log_prob(batch), predictor.distribution(batch).log_probs.exp()
        np.testing.assert_allclose(
            log_prob.nan_to_num(nan=-torch.inf).sum(1).exp(), [law[word] for word in words], atol=1e-14
        )
        for row, word in enumerate(words):
            for place in range(5):
                if before := law[word[:place]]:
                    expected = [law[(*word[:place], token)] / before for token in range(3)]
                    np.testing.assert_allclose(chance[row, place], expected, atol=1e-13)
                else:
                    assert chance[row, place].isnan().all()


def test_floor_is_the_difference_of_word_entropies(kit, law):
    source = kit.make("switching", source=mixed(kit), rate=RATE)
    entropy = np.zeros(6)
    for word, chance in law.items():
        entropy[len(word)] -= chance * np.log(chance) if chance else 0.0
    found = source.optimum("mixture", None, None, 5)
    np.testing.assert_allclose(found.values, np.diff(entropy), atol=1e-12)
    rate = source.entropy_rate(None, None)
    long = source.optimum("mixture", None, None, 9).values[-1]
    assert rate.error[0] < 0.02
    assert rate.values[0] - rate.error[0] <= long + 1e-9
    assert rate.values[0] + rate.error[0] > 0.9 * long


def test_the_dense_machine_is_the_filter(kit):
    source, topics, _ = kit.listed("switching", source=mixed(kit), rate=RATE)
    machines, weights = source.compiled()
    batch = kit.draw(source, topics, [0] * 40, 60)
    dense = MachineSource(machines, weights).mixture(machines, weights)
    np.testing.assert_allclose(source.oracle().log_prob(batch), dense.log_prob(batch), atol=1e-11)


def test_an_impossible_history_is_not_revived(kit):
    source, topics, _ = kit.listed("switching", source=kit.component("coins", biases=(0.0, 0.0)), rate=0.5)
    found = source.oracle().log_prob(kit.batch_of([[0, 1, 0, 0], [0, 0, 0, 0]], topics))
    assert found[0, :2].tolist() == [0.0, -torch.inf]
    assert found[0, 2:].isnan().all()
    assert found[1].tolist() == [0.0] * 4


def test_long_sequences_do_not_underflow(kit):
    source, topics, _ = kit.listed("switching", source=kit.component("mr-name", names=6), rate=0.01)
    batch = kit.draw(source, topics, [0, 0], 16384)
    assert torch.isfinite(source.oracle().log_prob(batch)).all()


@pytest.mark.parametrize("rate", [0.0, RATE, 1.0])
def test_words_have_the_right_frequencies(kit, rate):
    inner = mixed(kit)
    pool, weights = inner.build().compiled()
    source, topics, _ = kit.listed("switching", source=inner, rate=rate)
    batch = kit.draw(source, topics, [0] * 20_000, 4, seed=5)
    seen = torch.bincount((batch.tokens * 3 ** torch.arange(3, -1, -1)).sum(1), minlength=81).double().numpy()
    expected = np.array(
        [20_000 * probability(pool, weights.tolist(), rate, word) for word in itertools.product(range(3), repeat=4)]
    )
    assert not seen[expected == 0].any()
    often = expected > 5
    statistic = ((seen - expected)[often] ** 2 / expected[often]).sum()
    assert stats.chi2(often.sum() - 1).sf(statistic) > 1e-4


def test_no_switch_is_the_mixture_and_every_switch_forgets(kit):
    inner = mixed(kit)
    source, topics, _ = kit.listed("switching", source=inner, rate=0.0)
    plain, own, weights = kit.listed(
        "mixture", **{f: getattr(inner.config, f) for f in ("components", "weights", "vocabularies")}
    )
    batch = kit.draw(plain, own, [0, 1, 2], 30)
    np.testing.assert_allclose(
        source.oracle().log_prob(kit.batch_of(batch.tokens, topics)), plain.mixture(own, weights).log_prob(batch)
    )
    forgetful, topics, _ = kit.listed("switching", source=inner, rate=1.0)
    chance = forgetful.oracle().distribution(kit.batch_of(batch.tokens[:1], topics)).log_probs
    np.testing.assert_allclose(chance[0], chance[0, :1].expand(30, 3), atol=1e-12)


@pytest.mark.parametrize(
    "inner",
    [{"kind": "coins"}, {"kind": "random-hmm", "states": 2, "vocabulary": 3}, {"kind": "markov"}, {"kind": "dice"}],
    ids=lambda x: x["kind"],
)
def test_a_drawn_pool_is_a_function_of_its_key(kit, inner):
    inner = kit.component(**inner)
    source = kit.make("switching", source=inner, rate=0.1, topics=4)
    one, same, other = (kit.topics_of(source, [1], seed) for seed in (0, 0, 1))
    assert torch.equal(one.points.pool.transitions, same.points.pool.transitions)
    assert not torch.equal(one.points.pool.transitions, other.points.pool.transitions)
    larger = kit.topics_of(kit.make("switching", source=inner, rate=0.1, topics=6), [1])
    assert torch.equal(larger.points.pool.transitions[:4], one.points.pool.transitions)
    batch = kit.draw(source, one, [0] * 3, 20)
    assert torch.isfinite(source.oracle().log_prob(batch)).all()
    assert source.population() is None
    assert np.isfinite(source.optimum("oracle", one, torch.ones(1), 5).values).all()


def test_a_sequence_is_a_function_of_its_address(kit):
    source, topics, _ = kit.listed("switching", source=mixed(kit), rate=RATE)
    before = torch.get_rng_state()
    full = kit.draw(source, topics, [0] * 9, 50)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(kit.draw(source, topics, [0] * 9, 13).tokens, full.tokens[:, :13])
    assert torch.equal(kit.draw(source, topics, [0] * 2, 50, number=[7, 2]).tokens, full.tokens[[6, 1]])


def test_extreme_draws_never_reach_an_impossible_token(monkeypatch, kit):
    shown = torch.tensor([[0.0, 0.4, 0.6, 0.0]], dtype=torch.float64)
    pool = Machines(
        transitions=shown[:, :, None, None], start=torch.ones(1, 1, dtype=torch.float64), numbers=torch.ones(1).long()
    )
    points = ChangePoints(pool=pool, weights=torch.ones(1, dtype=torch.float64), rate=0.5)
    for draw, token in ((0.0, 1), (1 - 2.0**-53, 2)):
        monkeypatch.setattr(
            Key,
            "uniform",
            lambda key, *shape, draw=draw: torch.full((*key.states.shape, *shape), draw, dtype=torch.float64),
        )
        assert (points.sample(None, 5, Key.root(0).fold(torch.arange(3))) == token).all()


@pytest.mark.parametrize(
    ("fields", "key", "text"),
    [
        ({"source": ("fanizza", {})}, "source", "fanizza has no exact change-point filter"),
        ({"source": ("induction", {})}, "source", "allowed: hmm, random-hmm, coins"),
        ({"source": ("mr-name", {"names": 3}), "topics": 4}, "topics", "4 is more than the 3 that mr-name lists"),
        ({"source": ("coins", {})}, "topics", "coins draws its topics; give how many"),
    ],
)
def test_problems_name_the_field(kit, fields, key, text):
    kind, inner = fields["source"]
    assert text in kit.problems("switching", **(fields | {"source": kit.component(kind, **inner)}))[key]


def test_a_nested_pool_of_many_states_is_refused(kit):
    inner = kit.component("switching", source=kit.component("mr-name", names=20), rate=0.1)
    with pytest.raises(ConfigError, match=r"source\.source: switching"):
        kit.make("switching", source=inner, rate=0.1)
    inner = kit.component("switching", source=kit.component("mr-name", names=3), rate=0.1)
    assert torch.isfinite(
        kit.make("switching", source=inner, rate=0.1).population().log_prob(kit.batch_of([[0, 3]]))
    ).all()
