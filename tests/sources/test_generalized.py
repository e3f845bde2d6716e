"""Generalized hidden Markov models: words by their definition, floors by block entropies."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import linalg

from iclkit.predictors import mixture_over
from iclkit_sources.machines.generalized import GeneralizedOracle

KINDS = [
    ("fanizza", {}),
    ("fanizza", {"alpha": 1.0, "lamb": 0.3}),
    ("post-quantum", {}),
    ("tom-quantum", {}),
    ("tom-quantum", {"beta": 4.3}),
]
IDS = [f"{kind} {fields}" for kind, fields in KINDS]


def chances(kit, kind, fields, length):
    """Return all words and their probabilities by (pi T(x_1) .. T(x_l) w) / (pi w), in the given matrices."""
    matrices = np.array(kit.component(kind, **fields).config.matrices())
    values, left, right = linalg.eig(matrices.sum(0), left=True)
    at = np.abs(values).argmax()
    matrices = matrices / values[at].real
    start, end = left[:, at].real, right[:, at].real
    words = list(itertools.product(range(len(matrices)), repeat=length))
    found = []
    for word in words:
        vector = start
        for token in word:
            vector = vector @ matrices[token]
        found.append(vector @ end / (start @ end))
    return words, np.array(found)


@pytest.mark.parametrize(("kind", "fields"), KINDS, ids=IDS)
def test_words_have_their_probabilities(kit, kind, fields):
    length = 6 if kind == "fanizza" else 4
    words, law = chances(kit, kind, fields, length)
    assert law.min() > -1e-15
    assert law.sum() == pytest.approx(1, abs=1e-12)
    source, topics, weights = kit.listed(kind, **fields)
    batch = kit.batch_of(words, topics)
    for predictor in (source.oracle(), source.population(), mixture_over(source, topics, weights, 1)):
        total = predictor.log_prob(batch).nan_to_num(nan=-torch.inf).sum(1).exp()
        np.testing.assert_allclose(total, law, atol=1e-14)
    log_probs = source.oracle().distribution(batch).log_probs
    sums = log_probs.exp().sum(-1)
    np.testing.assert_allclose(sums[~sums.isnan()], 1, atol=1e-12)
    impossible = law < 1e-14
    assert (total[torch.from_numpy(impossible)] == 0).all()
    assert impossible.any() == (fields == {} and kind != "fanizza")


@pytest.mark.parametrize(("kind", "fields"), KINDS, ids=IDS)
def test_floors_are_differences_of_block_entropies(kit, kind, fields):
    source, topics, weights = kit.listed(kind, **fields)
    entropies = [0.0]
    for length in range(1, 7):
        law = np.clip(chances(kit, kind, fields, length)[1], 0, None)
        entropies.append(-(law * np.log(np.where(law > 0, law, 1))).sum())
    floor = source.optimum("mixture", topics, weights, 10)
    np.testing.assert_allclose(floor.values[:6], np.diff(entropies), atol=1e-12)
    assert floor.error.max() < 1e-11
    assert (np.diff(floor.values) < 1e-13).all()


def test_fanizza_renews_with_the_known_waiting_times(kit):
    """After a token 0 the number of 1s before the next has probability q_n - q_(n+1) in closed form."""
    alpha, lamb = 2000.0, 0.49
    source = kit.make("fanizza")
    runs = 30
    words = [[0] + [1] * n + [0] * (runs - n) for n in range(runs)]
    log_prob = source.population().log_prob(kit.batch_of(words))
    chance = [float(row[1 : n + 2].sum().exp()) for n, row in enumerate(log_prob)]
    waiting = lamb ** np.arange(400) * np.sin(np.arange(400) * alpha / 2) ** 2
    ratio = np.array(chance[1:]) / waiting[1:runs]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
    assert chance[0] == pytest.approx(1 - ratio[0] * waiting.sum(), abs=1e-12)


@pytest.mark.parametrize(("kind", "fields"), KINDS, ids=IDS)
def test_long_sequences_stay_exact(kit, kind, fields):
    source, topics, _ = kit.listed(kind, **fields)
    batch = kit.draw(source, topics, [0] * 20, 2000)
    log_prob = source.oracle().log_prob(batch)
    assert torch.isfinite(log_prob).all()
    floor = source.optimum("oracle", None, None, 60)
    rate = float(floor.values[np.isfinite(floor.values)][-1])
    spread = float(log_prob.mean(1).std()) / math.sqrt(20)
    assert float(-log_prob[:, 60:].mean()) == pytest.approx(rate, abs=5 * spread + 0.01)


def test_in_a_mixture(kit):
    parts = (kit.component("tom-quantum"), kit.component("golden-mean"))
    source, topics, weights = kit.listed("mixture", components=parts)
    words = list(itertools.product(range(4), repeat=4))
    log_prob = source.mixture(topics, weights).log_prob(kit.batch_of(words, topics))
    assert float(log_prob.nan_to_num(nan=-torch.inf).sum(1).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_an_impossible_token_leaves_nothing(kit):
    _, topics, _ = kit.listed("tom-quantum")
    words, law = chances(kit, "tom-quantum", {}, 2)
    dead = [word for word, chance in zip(words, law, strict=True) if chance < 1e-14]
    log_prob = GeneralizedOracle().log_prob(kit.batch_of([(*word, 0, 1) for word in dead], topics))
    assert (log_prob[:, 1] == -torch.inf).all()
    assert log_prob[:, 2:].isnan().all()
