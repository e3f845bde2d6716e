"""Coins: their predictors against brute force, and their prior."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from iclkit.api import Key
from iclkit.predictors import mixture_over
from iclkit_sources.coins.source import draw_beta

WORDS = list(itertools.product(range(2), repeat=6))


def expected(biases, weights, word):
    """Return ln Pr(. | word[:l]), (T, 2)."""
    rows = []
    for position in range(len(word)):
        joint = [
            sum(
                weight * math.prod(bias if token else 1 - bias for token in (*word[:position], side))
                for bias, weight in zip(biases, weights, strict=True)
            )
            for side in (0, 1)
        ]
        with np.errstate(divide="ignore", invalid="ignore"):
            rows.append(np.log(np.array(joint) / sum(joint)) if sum(joint) > 0 else [np.nan, np.nan])
    return np.array(rows)


@pytest.mark.parametrize("biases", [(0.2, 0.5, 0.9), (0.0, 1.0), (0.0, 0.3)])
@pytest.mark.parametrize("chunk", [1, 64])
def test_mixture_is_bayes_rule(kit, biases, chunk):
    source, topics, weights = kit.listed("coins", biases=biases, weights=tuple(range(1, len(biases) + 1)))
    batch = kit.batch_of(WORDS, topics)
    log_probs = mixture_over(source, topics, weights, chunk).distribution(batch).log_probs
    np.testing.assert_allclose(log_probs, [expected(biases, weights.tolist(), word) for word in WORDS], atol=1e-12)
    np.testing.assert_allclose(source.population().distribution(batch).log_probs, log_probs, atol=1e-12)


def test_oracle_knows_the_coin(kit):
    source, topics, _ = kit.listed("coins", biases=(0.0, 0.3))
    log_prob = source.oracle().log_prob(kit.batch_of([[0, 1, 0], [0, 1, 1]], topics, [0, 1]))
    assert log_prob[0, :2].tolist() == [0.0, -math.inf]
    assert log_prob[0, 2].isnan()
    np.testing.assert_allclose(log_prob[1], np.log([0.7, 0.3, 0.3]), atol=1e-15)


def test_population_is_beta_binomial(kit):
    alpha, beta = 0.7, 2.5
    source = kit.make("coins", alpha=alpha, beta=beta)
    totals = source.population().log_prob(kit.batch_of(WORDS)).sum(1)
    for word, total in zip(WORDS, totals.tolist(), strict=True):
        ones = sum(word)
        law = stats.betabinom(len(word), alpha, beta).logpmf(ones) - math.log(math.comb(len(word), ones))
        assert total == pytest.approx(law, abs=1e-12)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.3, 0.6), (5.0, 2.0)])
def test_biases_follow_the_prior(alpha, beta):
    key = Key.root(1).fold(torch.arange(4000))
    drawn = draw_beta(alpha, beta, key)
    assert stats.kstest(drawn.numpy(), stats.beta(alpha, beta).cdf).pvalue > 1e-4
    assert torch.equal(drawn[5:9], draw_beta(alpha, beta, key[5:9]))


def test_a_coin_that_was_out_of_the_question_comes_back(kit):
    source, topics, weights = kit.listed("coins", biases=(0.0, 0.5))
    batch = kit.batch_of([[0] * 3000 + [1, 1]])
    log_prob = source.mixture(topics, weights).log_prob(batch)
    assert float(log_prob[0, 3000]) == pytest.approx(3001 * math.log(0.5), rel=1e-12)
    assert float(log_prob[0, 3001]) == pytest.approx(math.log(0.5), rel=1e-9)
