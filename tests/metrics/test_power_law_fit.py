"""Power laws: known exponents come back, intervals cover them, exponential decay is told apart."""

import math

import numpy as np
import pytest

from iclkit_metrics.power_law.fit import default_range, fit, held_out_advantage, power_law

LENGTH = 128
POSITIONS = np.arange(1, LENGTH + 1)
TRUE = 0.7 * POSITIONS**-0.9


def noisy(seed, errors):
    return TRUE + errors * np.random.default_rng(seed).standard_normal(LENGTH)


def fitted(values, errors, draws=1000):
    """Fit with bootstrap curves whose noise is drawn from the errors, independent over positions."""
    resampled = values + errors * np.random.default_rng(0).standard_normal((draws, LENGTH))
    return power_law(POSITIONS, values, errors, resampled)


def test_an_exact_power_law_comes_back_exactly():
    found = power_law(POSITIONS, TRUE)
    assert found.exponent == pytest.approx(0.9, abs=1e-12)
    assert found.coefficient == pytest.approx(0.7, abs=1e-12)
    assert found.positions.tolist() == list(range(8, 65))
    assert found.dropped == 0
    assert found.advantage > 1
    assert math.isnan(found.exponent_interval[0])
    assert math.isnan(found.preferred)


def test_weights_are_least_squares_by_hand():
    rng = np.random.default_rng(0)
    x, y, weights = np.arange(2.0, 9), rng.uniform(1, 2, 7), rng.uniform(1, 3, 7)
    slope, level = np.polyfit(np.log(x), np.log(y), 1, w=np.sqrt(weights))
    exponent, coefficient = fit(x, y, weights)
    assert (exponent, coefficient) == pytest.approx((-slope, math.exp(level)), rel=1e-12)
    together = fit(x, np.stack([y, 3 * y]), weights)
    assert together[0] == pytest.approx([exponent, exponent])
    assert together[1] == pytest.approx([coefficient, 3 * coefficient])


def test_intervals_from_errors_cover_the_truth():
    errors = np.full(LENGTH, 2e-3)  # a third of the value at the end of the range would be 5e-3
    covered = [
        low <= 0.9 <= high and floor <= 0.7 <= ceiling
        for (low, high), (floor, ceiling) in (
            (found.exponent_interval, found.coefficient_interval)
            for found in (fitted(noisy(seed, errors), errors, draws=300) for seed in range(200))
        )
    ]
    assert 0.88 <= np.mean(covered) <= 0.99


def test_intervals_from_replicates_cover_the_truth_though_positions_hang_together():
    covered = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        replicates = TRUE * (1 + 0.3 * rng.standard_normal((40, 1)) * np.log(POSITIONS) / 4)
        replicates = replicates + 2e-3 * rng.standard_normal((40, LENGTH))
        resampled = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=300) @ replicates / 40
        found = power_law(POSITIONS, replicates.mean(0), resampled=resampled)
        covered.append(found.exponent_interval[0] <= 0.9 <= found.exponent_interval[1])
    assert 0.88 <= np.mean(covered) <= 0.99


def test_the_interval_of_a_precise_curve_is_narrow():
    errors = np.full(LENGTH, 1e-5)
    low, high = fitted(noisy(0, errors), errors).exponent_interval
    assert low <= 0.9 <= high
    assert high - low < 5e-3


@pytest.mark.parametrize("seed", range(5))
def test_exponential_decay_is_told_apart(seed):
    errors = np.full(LENGTH, 1e-3)
    rng = np.random.default_rng(seed)
    power = fitted(noisy(seed, errors), errors)
    decay = 0.5 * np.exp(-POSITIONS / 20) + errors * rng.standard_normal(LENGTH)
    exponential = fitted(decay, errors)
    assert power.advantage > 0.1
    assert power.preferred > 0.95
    assert exponential.advantage < -0.1
    assert exponential.preferred < 0.05


def test_the_advantage_is_held_out_likelihood_by_hand():
    rng = np.random.default_rng(3)
    x = np.arange(8.0, 20)
    y = np.exp(rng.normal(-np.log(x), 0.1))
    total = 0.0
    for fold in range(2):
        left = np.arange(len(x)) % 2 == fold
        for sign, axis in ((1, np.log(x)), (-1, x)):
            line = np.polyfit(axis[~left], np.log(y[~left]), 1)
            scatter = ((np.log(y) - np.polyval(line, axis))[~left] ** 2).sum() / ((~left).sum() - 2)
            away = (np.log(y) - np.polyval(line, axis))[left]
            total += sign * (-0.5 * np.log(2 * np.pi * scatter) - away**2 / (2 * scatter)).sum()
    assert held_out_advantage(x, y) == pytest.approx(total / len(x), rel=1e-9)


def test_an_exact_curve_is_seen_on_the_same_range():
    """Not a power law: its slope there is the mean of its local slopes, not its limit -1."""
    curve = 0.5 * np.log1p(1 / POSITIONS) * (1 + 2 / POSITIONS)
    inside = (POSITIONS >= 8) & (POSITIONS <= 64)
    slopes = -np.gradient(np.log(curve), np.log(POSITIONS))[inside]
    exponent, _ = fit(POSITIONS[inside], curve[inside])
    assert slopes.min() < exponent < slopes.max()
    assert 1.02 < exponent < 1.15


def test_values_that_are_not_positive_are_dropped_and_counted():
    values = TRUE.copy()
    values[[20, 30]] = -1e-3, 0.0
    found = power_law(POSITIONS, values)
    assert found.dropped == 2
    assert found.exponent == pytest.approx(0.9)


def test_too_few_positions_are_refused():
    with pytest.raises(ValueError, match=r"needs 3 positions with a positive value; of 2 in 8 .. 9 there are 2"):
        power_law(POSITIONS, TRUE, bounds=(8, 9))


def test_the_default_range():
    assert default_range(100) == (8, 50)


def test_errors_as_large_as_the_curve_leave_a_wide_interval():
    errors = np.full(LENGTH, 0.1)
    found = fitted(np.abs(noisy(0, errors)), errors)
    low, high = found.exponent_interval
    assert high - low > 0.5
