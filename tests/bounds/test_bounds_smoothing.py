"""Certified predictors: legal, bounded as they say, cheap; and the excess of clipped densities."""

import math

import numpy as np
import pytest

from iclkit_bounds import betting
from iclkit_bounds.clipping import clipped_mix, gaussian_excess, sampled_excess
from iclkit_bounds.smoothing import block_mix, seq_mix, token_mix


def test_known_ranges_and_costs():
    """At V = 50 and T = 256."""
    found = seq_mix(-700.0, 256, 50)
    assert float(found.upper) == pytest.approx(3.921, abs=5e-4) and float(found.cost) == pytest.approx(4e-4, abs=2e-5)
    half = seq_mix(-700.0, 256, 50, 0.5)
    assert float(half.upper) == pytest.approx(3.915, abs=5e-4) and float(half.cost) == pytest.approx(0.0027, abs=5e-5)
    assert float(token_mix(-3.0, 50).upper) == pytest.approx(8.52, abs=5e-3)
    assert float(token_mix(-3.0, 50, 0.1).upper) == pytest.approx(6.21, abs=5e-3)
    block = block_mix(np.full((1, 1), -90.0), [32], 50)
    assert block.upper[0] == pytest.approx(3.984, abs=5e-4) and block.cost[0] == pytest.approx(0.0033, abs=1e-4)


def test_seq_mix_is_the_two_expert_bayes_predictor():
    """Tokens predicted one by one with the running posterior weight have the same product, summing to 1 each time."""
    rng = np.random.default_rng(0)
    p, tokens, a = rng.dirichlet(np.full(4, 0.2), size=12), rng.integers(4, size=12), 0.1
    weight, log = 1 - a, 0.0
    for row, x in zip(p, tokens, strict=True):
        mixed = weight * row + (1 - weight) / 4
        assert mixed.sum() == pytest.approx(1)
        log, weight = log + math.log(mixed[x]), weight * row[x] / mixed[x]
    found = seq_mix(np.log(p[np.arange(12), tokens]).sum(), 12, 4, a)
    assert float(found.losses) == pytest.approx(-log / 12)
    assert float(found.model_weight) == pytest.approx(weight)


def test_losses_stay_in_their_range_for_any_likelihood():
    sums = np.array([0.0, 1e-12, -1e-9, -5.0, -1e4, -np.inf])
    found = seq_mix(sums, 16, 7)
    assert (found.losses <= found.upper).all() and (found.losses >= found.least).all() and found.least > 0
    assert (found.losses <= -sums / 16 + found.cost + 1e-12).all()
    betting.upper_limit(found.losses, float(found.upper), 0.1)  # nothing refused


def test_blocks_are_sequences_of_their_own():
    sums = -np.random.default_rng(1).uniform(5, 40, size=(6, 3))
    found = block_mix(sums, [8, 8, 4], 5)
    for j, b in enumerate([8, 8, 4]):
        alone = seq_mix(sums[:, j], b, 5)
        assert found.losses[:, j] == pytest.approx(alone.losses)
        assert [found.upper[j], found.cost[j], found.least[j]] == pytest.approx(
            [float(alone.upper), float(alone.cost), float(alone.least)]
        )
        assert found.model_weight[j] == pytest.approx(float(alone.model_weight))


def test_impossible_inputs_are_refused():
    for bad in (np.nan, 0.1):
        with pytest.raises(ValueError, match="at most 0"):
            seq_mix([bad, -1.0], 4, 3)
    with pytest.raises(ValueError, match="weight"):
        seq_mix(-1.0, 4, 3, weight=1.0)


# ---------------------------------------------------------------- densities

LENGTH, WIDTH = 6, 2.0


def log_fixed(x):
    """q: independent Gaussians of width 2."""
    return (-0.5 * (x / WIDTH) ** 2 - math.log(WIDTH) - 0.5 * math.log(2 * math.pi)).sum(-1)


def test_gaussian_excess_bounds_the_simulated_one_and_falls_with_the_limit():
    rng = np.random.default_rng(2)
    scales = np.array([1.0, 1.0, 2.0, 2.0, 3.0, 1.5])
    losses = (math.log(10) - log_fixed(scales * rng.standard_normal((400_000, LENGTH)))) / LENGTH
    before = math.inf
    for upper in (2.5, 3.5, 5.0, 7.0):
        simulated = np.maximum(losses - upper, 0)
        bound = gaussian_excess((scales / WIDTH) ** 2, LENGTH * math.log(WIDTH), LENGTH, upper)
        assert simulated.mean() - 4 * simulated.std() / 632 <= bound < before
        before = bound
    assert before < 1e-3
    topics = gaussian_excess(np.stack([scales, 2 * scales]), 0.0, LENGTH, 9.0)
    alone = [gaussian_excess(s, 0.0, LENGTH, 9.0) for s in (scales, 2 * scales)]
    assert sum(alone) / 2 <= topics + 1e-12 and topics < alone[1]


def test_sampled_excess_holds_and_needs_its_tail():
    rng, truth = np.random.default_rng(3), None
    losses = (math.log(10) - log_fixed(2 * rng.standard_normal((400_000, LENGTH)))) / LENGTH
    truth = np.maximum(losses - 2.6, 0).mean()
    beyond = gaussian_excess(np.ones(LENGTH), LENGTH * math.log(WIDTH), LENGTH, 2.6 + 3.0)
    samples = log_fixed(2 * rng.standard_normal((300, 1000, LENGTH)))
    bound = sampled_excess(samples, LENGTH, 2.6, 3.0, beyond, 0.1)
    without = sampled_excess(samples, LENGTH, 2.6, 3.0, 0.0, 0.1)
    assert bound == pytest.approx(without + beyond, rel=1e-12) and beyond > 0
    assert (bound < truth).sum() <= 45  # P(Bin(300, .1) > 45) < .003
    assert bound.mean() < gaussian_excess(np.ones(LENGTH), LENGTH * math.log(WIDTH), LENGTH, 2.6)


def test_clipped_loss_plus_excess_is_above_the_loss():
    """Of a model far too sure of itself: the loss of the mixture is finite, and the clipped one is bounded."""
    rng = np.random.default_rng(4)
    x = 2 * rng.standard_normal((100_000, LENGTH))
    sure = (-0.5 * (x / 0.05) ** 2 - math.log(0.05) - 0.5 * math.log(2 * math.pi)).sum(-1)
    whole = clipped_mix(sure, log_fixed(x), LENGTH, 100.0)
    clipped = clipped_mix(sure, log_fixed(x), LENGTH, 2.6)
    excess = gaussian_excess(np.ones(LENGTH), LENGTH * math.log(WIDTH), LENGTH, 2.6)
    assert whole.losses.max() > 2.6 and clipped.losses.max() == 2.6
    assert whole.losses.mean() <= clipped.losses.mean() + excess
    assert (whole.losses <= -sure / LENGTH + whole.cost + 1e-12).all()
    with pytest.raises(ValueError, match="finite"):
        clipped_mix(sure, np.full_like(sure, -np.inf), LENGTH, 2.6)
