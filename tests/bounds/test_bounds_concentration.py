"""The classical limits: known answers, and their exact coverage for coins."""

import math

import numpy as np
import pytest

from iclkit_bounds import bernstein, betting, concentration


def test_kl_inverse_known_answers():
    assert concentration.kl_inverse(0.0, math.log(4)) == pytest.approx(0.75)  # kl(0, q) = -ln(1-q)
    assert concentration.kl_inverse(0.3, 0.0) == pytest.approx(0.3, abs=1e-6)
    assert concentration.kl_inverse(1.0, 0.5) == 1.0
    for p, radius in [(0.0, 0.1), (0.2, 0.05), (0.7, 0.3), (0.5, 2.0)]:
        q = float(concentration.kl_inverse(p, radius))
        assert concentration.bernoulli_kl(p, q) > radius > concentration.bernoulli_kl(p, q - 1e-9)  # the upper end
    assert concentration.bernoulli_kl([0.5, 0.0, 0.5], [0.5, 0.0, 0.0]).tolist() == [0.0, 0.0, math.inf]


def test_binomial_tail():
    exact = sum(math.comb(20, k) * 0.3**k * 0.7 ** (20 - k) for k in range(5))
    assert concentration.binomial_tail(4, 20, 0.3) == pytest.approx(exact, rel=1e-12)
    assert concentration.binomial_tail(20, 20, 0.3) == pytest.approx(1.0)
    assert concentration.binomial_tail(0, 15, 1 - 0.1 ** (1 / 15)) == pytest.approx(0.1)
    assert concentration.binomial_tail(5000, 100_000, 0.0512) == pytest.approx(0.0416, abs=2e-3)  # 1.72 deviations away


def test_formulas():
    x = np.array([1.0, 2.0, 1.5, 1.1])
    log = math.log(20)
    assert concentration.hoeffding(x, 3.0, 0.05) == pytest.approx(min(3.0, 1.4 + 3 * math.sqrt(log / 8)))
    many, upper = np.tile(x, 5000), 3.0
    n, v = len(many), many.var(ddof=1)
    expected = 1.4 + math.sqrt(2 * v * math.log(40) / n) + 7 * upper * math.log(40) / (3 * (n - 1))
    assert concentration.maurer_pontil(many, upper, 0.05) == pytest.approx(expected)
    expected = 1.4 + math.sqrt(2 * many.var() * math.log(60) / n) + 3 * upper * math.log(60) / n
    assert concentration.empirical_bernstein(many, upper, 0.05) == pytest.approx(expected)
    assert concentration.maurer_pontil([1.0], upper, 0.05) == upper
    assert concentration.chernoff(many, upper, 0.05) < concentration.seeger(many, upper, 0.05)
    assert concentration.chernoff(many, upper, 0.05) < concentration.hoeffding(many, upper, 0.05)


@pytest.mark.parametrize("name", ["empirical_bernstein", "maurer_pontil"])
def test_bounds_by_the_sample_variance_hold_for_very_different_means(name):
    """Each unit has a mean of its own; there are enough of them for the bounds to be far below the limit."""
    rng = np.random.default_rng(3)
    biases = np.repeat([0.002, 0.02, 0.6], [300, 300, 50])
    x = (rng.random((4000, len(biases))) < biases).astype(float)
    limits = getattr(concentration, name)(x, 1.0, 0.1)
    assert (limits < biases.mean()).mean() <= 0.1 and limits.mean() < 0.15


def test_the_constant_of_seegers_bound():
    """E exp(n kl(X-, m)) of coins, the same for every m: sum_k C(n,k) (k/n)^k (1-k/n)^(n-k) <= 2 sqrt n."""
    for n in (1, 2, 3, 7, 8, 50, 300):
        k = np.arange(n + 1)
        choose = np.array([math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) for j in k])
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = choose + np.where(k > 0, k * np.log(k / n), 0) + np.where(k < n, (n - k) * np.log1p(-k / n), 0)
        assert np.exp(logs).sum() <= 2 * math.sqrt(n)


COINS = {
    "betting": lambda x, d: betting.upper_limit(x, 1.0, d),
    "floor": lambda x, d: betting.floor_limit(x, 1.0, d),
    "centred": lambda x, d: bernstein.centred(x, 0.3, 1.0, 0.3, d),
    **{
        name: lambda x, d, name=name: getattr(concentration, name)(x, 1.0, d)
        for name in ("hoeffding", "chernoff", "seeger", "empirical_bernstein", "maurer_pontil")
    },
}


@pytest.mark.parametrize("name", COINS)
@pytest.mark.parametrize("n", [1, 6, 40])
def test_exact_coverage_for_coins(name, n):
    counts = np.arange(n + 1)
    limits = COINS[name]((np.arange(n) < counts[:, None]).astype(float), 0.1)
    for p in np.linspace(0.01, 0.99, 99):
        chances = np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in counts])
        assert chances[limits < p].sum() <= 0.1 + 1e-9


@pytest.mark.parametrize("name", COINS)
def test_exact_coverage_for_units_with_different_means(name):
    """Eight coins of different bias, all 256 outcomes."""
    outcomes = np.array(np.meshgrid(*[[0.0, 1.0]] * 8)).reshape(8, -1).T
    limits = COINS[name](outcomes, 0.1)
    rng = np.random.default_rng(0)
    for biases in rng.beta(0.5, 0.5, size=(60, 8)):
        chances = np.where(outcomes > 0, biases, 1 - biases).prod(-1)
        assert chances[limits < biases.mean()].sum() <= 0.1 + 1e-9
