"""The betting bound: exact cases, monotonicity, and the planted rare failure that finds a wrong constant."""

import math

import numpy as np
import pytest

from iclkit_bounds import bernstein, betting, concentration
from iclkit_bounds.units import topic_means

ALL_IN = (np.array([1.0]), np.array([1.0]))


def test_equal_losses_give_the_floor_formula():
    x, upper, delta, n = np.full(20, 2.5), 3.9, 0.05, 20
    floor = 2.5 + (1 - delta ** (1 / n)) * (upper - 2.5)
    assert betting.floor_limit(x, upper, delta) == pytest.approx(floor, abs=1e-12)
    assert betting.upper_limit(x, upper, delta, grid=ALL_IN) == pytest.approx(floor, abs=1e-9)
    mixed = betting.upper_limit(x, upper, delta)  # the stake of 1 has a share of 0.4
    assert floor < mixed < betting.floor_limit(x, upper, 0.4 * delta) + 1e-9


def test_closed_form_is_the_search_with_all_staked():
    x = np.random.default_rng(0).uniform(0.5, 3.0, size=(7, 12))
    cost = np.linspace(0, 6, 7)
    searched = betting.upper_limit(x, 3.5, 0.1, cost, grid=ALL_IN)
    assert betting.floor_limit(x, 3.5, 0.1, cost) == pytest.approx(searched, abs=1e-9)


def test_the_upper_end_of_the_bracket_is_returned():
    x = np.random.default_rng(1).uniform(1, 2, size=(5, 30))
    limit = betting.upper_limit(x, 3.0, 0.05, 1.3)
    assert (betting.log_wealth(x, limit, 3.0) >= math.log(20) + 1.3).all()
    assert (betting.log_wealth(x, limit - 2e-10, 3.0) < math.log(20) + 1.3).all()


def test_wealth_grows_with_the_claimed_mean_and_is_at_most_one_at_the_sample_mean():
    x = np.random.default_rng(2).uniform(0, 2, size=40)
    wealth = [float(betting.log_wealth(x, m, 2.5)) for m in np.linspace(x.mean(), 2.49, 30)]
    assert wealth[0] <= 0 and all(np.diff(wealth) > 0)


def test_monotone_in_units_confidence_cost_and_losses_and_blind_to_order():
    rng = np.random.default_rng(3)
    x = rng.uniform(1, 2, size=20)
    limit = float(betting.upper_limit(x, 3.0, 0.05))
    assert float(betting.upper_limit(np.tile(x, 2), 3.0, 0.05)) < limit
    assert float(betting.upper_limit(x, 3.0, 0.1)) < limit < float(betting.upper_limit(x, 3.0, 0.05, 0.5))
    assert float(betting.upper_limit(rng.permutation(x), 3.0, 0.05)) == pytest.approx(limit, abs=2e-10)
    assert (betting.upper_limit(x + 0.1 * np.eye(20), 3.0, 0.05) > limit).all()


def test_approaches_the_mean():
    rng = np.random.default_rng(4)
    gaps = []
    for n in (100, 1000, 10_000):
        x = np.clip(rng.normal(2, 0.1, size=n), None, 3.9)
        gaps.append(float(betting.upper_limit(x, 3.9, 0.05)) - x.mean())
    assert gaps[2] < gaps[1] < gaps[0] and gaps[2] < 1.4 * 0.1 * math.sqrt(2 * math.log(20) / 10_000)


def test_losses_too_large_for_the_tolerance_are_bracketed_as_well_as_float64_can():
    x = np.array([1e7, 2e7, 1.5e7])
    assert betting.upper_limit(x, 5e7, 0.1) == pytest.approx(1e7 * betting.upper_limit(x / 1e7, 5.0, 0.1), rel=1e-9)
    assert betting.lower_limit(x, -1e12, 0.1) <= x.mean()


def test_negative_cost_buys_nothing_and_losses_at_the_limit_give_the_limit():
    x = np.array([1.0, 1.5, 2.0])
    assert betting.upper_limit(x, 3.0, 0.1, -5.0) == betting.upper_limit(x, 3.0, 0.1)
    both = betting.upper_limit([[3.0, 3.0], [3.0, 1.0]], 3.0, 0.1)
    assert both[0] == 3.0 and 2.0 < both[1] <= 3.0
    assert betting.floor_limit([3.0, 1.0], 3.0, 0.1) == 3.0


def test_the_lower_limit_is_the_mirror():
    x = np.random.default_rng(5).uniform(0.2, 1.0, size=25)
    mirrored = 1.5 - betting.upper_limit(1.5 - x, 1.5, 0.1)
    assert betting.lower_limit(x, 0.0, 0.1) == pytest.approx(float(mirrored), abs=1e-9)
    assert betting.lower_limit(x, 0.0, 0.1) < x.mean()


def test_losses_outside_their_range_are_refused():
    with pytest.raises(ValueError, match="exceeds the upper limit 3"):
        betting.upper_limit([1.0, 3.1], 3.0, 0.1)
    with pytest.raises(ValueError, match="finite"):
        betting.upper_limit([1.0, np.inf], 3.0, 0.1)
    with pytest.raises(ValueError, match="delta"):
        betting.upper_limit([1.0], 3.0, 1.0)
    with pytest.raises(ValueError, match="n >= 1"):
        betting.upper_limit([], 3.0, 0.1)


def test_topic_means_weigh_sequences_within_their_topic():
    means = topic_means([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]], [4, 4, 9])
    assert means.tolist() == [[1.5, 6.0], [0.0, 3.0]]


# ---------------------------------------------------------------- a rare failure, planted

N, UPPER, EASY, DELTA = 15, 1.7, 0.5, 0.1


def failure_rate(bound, share, n=N):
    """The exact rate of a bound where a unit has loss B with probability `share`, else EASY: a sum over counts."""
    counts = np.arange(n + 1)
    losses = np.where(np.arange(n) < counts[:, None], UPPER, EASY)
    chances = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in counts]
    return float(np.dot(chances, bound(losses) < EASY + share * (UPPER - EASY)))


VALID = {
    "betting": lambda x: betting.upper_limit(x, UPPER, DELTA),
    "floor": lambda x: betting.floor_limit(x, UPPER, DELTA),
    "hoeffding": lambda x: concentration.hoeffding(x, UPPER, DELTA),
    "chernoff": lambda x: concentration.chernoff(x, UPPER, DELTA),
    "seeger": lambda x: concentration.seeger(x, UPPER, DELTA),
    "empirical_bernstein": lambda x: concentration.empirical_bernstein(x, UPPER, DELTA),
    "maurer_pontil": lambda x: concentration.maurer_pontil(x, UPPER, DELTA),
    "centred": lambda x: bernstein.centred(x, EASY, UPPER, EASY, DELTA),
}


@pytest.mark.parametrize("name", VALID)
def test_no_valid_bound_misses_a_rare_failure_too_often(name):
    shares = [0.005, 0.02, 0.05, 0.1, 0.14, 0.1424, 0.145, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99]
    assert max(failure_rate(VALID[name], share) for share in shares) <= DELTA + 1e-12


def test_the_floor_fails_at_the_nominal_rate():
    """Just above 1 - delta^(1/n) = 0.1423 the bound fails whenever the failure was not seen: 0.858^15 = 0.1."""
    assert failure_rate(VALID["floor"], 0.1424) == pytest.approx(0.0999, abs=2e-4)
    assert failure_rate(VALID["floor"], 0.145) == pytest.approx(0.855**15)  # .0954
    assert failure_rate(VALID["betting"], 0.145) < 0.011  # its mixture of stakes sees further


@pytest.mark.parametrize("factor", [0.95, 0.9])
def test_a_constant_a_little_too_small_is_found(factor):
    """The same harness rejects the floor with a price that is a tenth too small."""
    typo = lambda x: UPPER - np.exp((factor * math.log(DELTA) + np.log(UPPER - x + 1e-300).sum(-1)) / N)  # noqa: E731
    edge = 1 - DELTA ** (factor / N)
    assert failure_rate(typo, edge + 1e-4) > DELTA


def test_intervals_that_trust_the_sample_variance_are_found():
    """The central limit: 0.98^15 = .74 and .95^15 = .46 of the samples show no failure and no variance at all."""
    normal = lambda x: x.mean(-1) + 1.2816 * x.std(-1, ddof=1) / math.sqrt(N)  # noqa: E731
    assert failure_rate(normal, 0.02) == pytest.approx(0.739, abs=1e-3)
    assert failure_rate(normal, 0.05) >= 0.463


def test_pseudo_replication_is_found():
    """Six sequences of each topic, counted as ninety independent units."""
    replicated = lambda x: betting.floor_limit(np.repeat(x, 6, axis=-1), UPPER, DELTA)  # noqa: E731
    assert failure_rate(replicated, 0.05) == pytest.approx(0.95**15)
