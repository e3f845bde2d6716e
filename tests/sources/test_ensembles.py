"""How a task's in-context loss depends on the ensemble it is learned with (arXiv 2505.18373)."""

import math

import numpy as np
import pytest
import torch
from scipy import stats


def words_by_count(length):
    """Return one word for each number of ones, int64 (length + 1, length)."""
    return (torch.arange(length)[None] < torch.arange(length + 1)[:, None]).to(torch.int64)


@pytest.mark.parametrize("weights", [(0.9, 0.1), (0.5, 0.5), (0.99, 0.01)])
def test_a_task_costs_the_logarithm_of_its_weight(kit, weights):
    """sum_l (L_l^(c) - h^(c)) = D_KL(P_c || P) <= -ln w_c, with equality in the limit."""
    length, biases = 400, (1 / 3, 2 / 3)
    source, topics, own = kit.listed("coins", biases=biases, weights=weights)
    words = words_by_count(length)
    mixed = source.mixture(topics, own).log_prob(kit.batch_of(words)).sum(1).numpy()
    totals = []
    for c, bias in enumerate(biases):
        alone = source.oracle().log_prob(kit.batch_of(words, topics, [c] * len(words))).sum(1).numpy()
        totals.append(stats.binom(length, bias).pmf(np.arange(length + 1)) @ (alone - mixed))
    np.testing.assert_allclose(totals, [-math.log(weight) for weight in weights], atol=1e-7)
    if weights == (0.9, 0.1):
        np.testing.assert_allclose(totals, [0.105361, 2.302585], atol=5.1e-7)


def outside_loss(kit, source, topics, weights, bias, length):
    """Return the loss at the last of `length` positions of a coin that is not in the ensemble."""
    words = words_by_count(length - 1)
    words = torch.cat([words, torch.zeros(length, 1, dtype=torch.int64)], dim=1)
    log_probs = source.mixture(topics, weights).distribution(kit.batch_of(words)).log_probs[:, -1].numpy()
    chance = stats.binom(length - 1, bias).pmf(np.arange(length))
    return -chance @ log_probs @ np.array([1 - bias, bias])


@pytest.mark.parametrize(("bias", "limit", "entropy"), [(0.5, 0.7520, 0.6931), (0.6, 0.6827, 0.6730)])
def test_a_coin_outside_the_ensemble_keeps_its_distance(kit, bias, limit, entropy):
    """L_l -> H(R) + min_c D(R || P_c). Where two coins are equally far it is approached as 1/sqrt(l): extrapolated."""
    source, topics, weights = kit.listed("coins", biases=(1 / 3, 2 / 3))
    near, far = (outside_loss(kit, source, topics, weights, bias, length) for length in (257, 1025))
    found = 2 * far - near if bias == 0.5 else far
    assert found == pytest.approx(limit, abs=1e-4)
    own = -(bias * math.log(bias) + (1 - bias) * math.log(1 - bias))
    assert own == pytest.approx(entropy, abs=5.1e-5)
    exact = own + min(bias * math.log(bias / p) + (1 - bias) * math.log((1 - bias) / (1 - p)) for p in (1 / 3, 2 / 3))
    assert found == pytest.approx(exact, abs=1e-4)
