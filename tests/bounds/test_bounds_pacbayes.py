"""PAC-Bayes and path bounds: formulas, identities, and how they meet the held-out bound."""

import math

import numpy as np
import pytest
import torch

from iclkit_bounds import bernstein, betting, concentration, langevin, pacbayes

N, UPPER, DELTA = 400, 2.0, 0.05


def test_the_posterior_that_is_the_prior_gives_the_held_out_bound():
    x = np.random.default_rng(0).uniform(0.5, 1.5, size=N)
    assert pacbayes.single_draw(x, UPPER, DELTA, 0.0) == betting.upper_limit(x, UPPER, DELTA)
    assert langevin.upper_limit(x, UPPER, DELTA, 0.0, 0.0) == betting.upper_limit(x, UPPER, DELTA)
    assert pacbayes.seeger(x.mean(), N, UPPER, DELTA, 0.0) == pytest.approx(
        float(concentration.seeger(x, UPPER, DELTA)), abs=1e-9
    )


def test_gaussian_divergence_and_density_ratio():
    mean, prior = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, 0.0, 0.5])
    assert pacbayes.gaussian_kl(mean, prior, 0.5) == pytest.approx(5 / 0.5)
    widths = torch.tensor([0.5, 1.0, 2.0])
    own = torch.distributions.Independent(torch.distributions.Normal(mean, widths), 1)
    before = torch.distributions.Independent(torch.distributions.Normal(prior, widths), 1)
    z = torch.tensor([0.3, -1.2, 0.7])
    drawn = pacbayes.draw(mean, widths, z)
    expected = float(own.log_prob(drawn.float()) - before.log_prob(drawn.float()))
    assert pacbayes.log_ratio(drawn, mean, prior, widths) == pytest.approx(expected, abs=1e-5)
    assert pacbayes.gaussian_kl(mean, prior, widths) == pytest.approx(
        float(torch.distributions.kl_divergence(own, before))
    )
    assert pacbayes.interpolated(prior, mean, 0.5).tolist() == [0.5, -1.0, 0.5]
    assert pacbayes.as_vector({"b": torch.ones(1), "a": torch.zeros(2, 1)}).tolist() == [0, 0, 1]


def test_change_of_measure_has_mean_one_and_its_logarithm_the_divergence():
    torch.manual_seed(0)
    mean, prior = torch.full((4,), 0.1).double(), torch.zeros(4).double()
    ratios = np.array([pacbayes.log_ratio(mean + 0.5 * torch.randn(4), mean, prior, 0.5) for _ in range(4000)])
    assert np.exp(-ratios).mean() == pytest.approx(1, abs=0.03)
    assert ratios.mean() == pytest.approx(pacbayes.gaussian_kl(mean, prior, 0.5), abs=0.02)


def test_formulas():
    loss, kl = 0.6, 12.0
    c = (kl + math.log(2 * math.sqrt(N) / DELTA)) / N
    assert pacbayes.mcallester(loss, N, UPPER, DELTA, kl) == pytest.approx(loss + UPPER * math.sqrt(c / 2))
    found = float(pacbayes.seeger(loss, N, UPPER, DELTA, kl))
    assert concentration.bernoulli_kl(loss / UPPER, found / UPPER) == pytest.approx(c)
    by_v = [loss / (1 - v / 2) + UPPER * c / (v * (1 - v / 2)) for v in np.linspace(0.01, 1.99, 2000)]
    assert pacbayes.thiemann(loss, N, UPPER, DELTA, kl) == pytest.approx(min(by_v), rel=1e-5)
    price = (kl + math.log(16 / DELTA)) / N
    by_v = [UPPER / (1 - math.exp(-v)) * (1 - math.exp(-v * loss / UPPER - price)) for v in pacbayes.CATONI_GRID]
    assert len(by_v) == 16 and pacbayes.catoni(loss, N, UPPER, DELTA, kl) == pytest.approx(min(by_v))
    assert found <= pacbayes.mcallester(loss, N, UPPER, DELTA, kl)  # Pinsker
    assert found <= pacbayes.thiemann(loss, N, UPPER, DELTA, kl)  # refined Pinsker
    assert found == pytest.approx(float(pacbayes.catoni(loss, N, UPPER, DELTA, kl)), rel=0.05)


@pytest.mark.parametrize("name", ["mcallester", "seeger", "thiemann", "catoni"])
def test_monotone_and_never_above_the_range(name):
    bound = getattr(pacbayes, name)
    values = [float(bound(0.6, N, UPPER, DELTA, kl)) for kl in (0, 1, 10, 100, 1e4)]
    assert all(np.diff(values) >= 0) and values[-1] <= UPPER and values[0] > 0.6
    assert bound(0.6, 4 * N, UPPER, DELTA, 5.0) < bound(0.6, N, UPPER, DELTA, 5.0)
    assert bound(0.6, N, UPPER, 0.5, 5.0) < bound(0.6, N, UPPER, DELTA, 5.0)


def test_complexity_budget_of_ten_thousand_units():
    """What a cost of so many nats buys, in the published order of tightness: betting, centred, Seeger, McAllester."""
    rng = np.random.default_rng(1)
    upper, n = math.log(50) + math.log(2) / 256, 10_000
    x = np.clip(rng.normal(2.02, 0.32, size=n), None, upper)
    table = {}
    for cost in (0, 100, 1000, 10_000):
        table[cost] = [
            float(betting.upper_limit(x, upper, 0.05, cost)),
            float(bernstein.centred(x, 2.0, upper, 2.0, 0.05, cost)),
            float(pacbayes.seeger(x.mean(), n, upper, 0.05, cost)),
            float(pacbayes.mcallester(x.mean(), n, upper, 0.05, cost)),
        ]
        assert cost > 1000 or table[cost] == sorted(table[cost])  # then the centred one is the first to be vacuous
    assert table[0][0] == pytest.approx(2.031, abs=0.005) and table[1000][0] == pytest.approx(2.213, abs=0.02)
    assert table[1000][2] == pytest.approx(2.853, abs=0.02) and table[1000][3] == pytest.approx(2.905, abs=0.02)


def test_average_over_draws_has_its_own_confidence():
    rng = np.random.default_rng(2)
    draws = rng.beta(2, 5, size=(2000, 60))
    limit = pacbayes.posterior_mean(draws, 1.0, 0.1)
    assert (limit < 2 / 7).mean() <= 0.1 and limit.mean() < 2 / 7 + 0.1
    values = rng.uniform(0.4, 1.2, size=(50, 7)) + np.zeros((30, 50, 7))
    mean, square = pacbayes.gibbs_moments(values, 0.8, UPPER, 0.5, 0.05)
    squares = ((values - 0.8) ** 2).mean(-1)
    assert mean == pytest.approx(betting.upper_limit(values.mean(-1), UPPER, 0.025))
    assert (
        square == pytest.approx(betting.upper_limit(squares, 4.0, 0.025) / 7) and (square * 7 > squares.mean(-1)).all()
    )


# ---------------------------------------------------------------- paths


def descents(rng, paths, steps=15, rate=0.3, scale=0.2):
    """Noisy descent on a double well whose data part pulls to one side; terms of every update, (paths, steps)."""
    theta, kl, noise = np.zeros((paths, 2)), [], []
    for _ in range(steps):
        r = -rate * np.stack([0.4 - 0.2 * theta[:, 0], 0.3 * np.sin(theta[:, 1])], axis=-1)
        xi = rng.standard_normal(theta.shape)
        terms = langevin.path_terms(r / scale, xi)
        kl, noise = [*kl, terms[0]], [*noise, terms[1]]
        theta = theta - rate * (theta**3 - theta) + r + scale * xi
    return theta, np.sum(kl, axis=0), np.sum(noise, axis=0)


def test_the_ratio_of_a_path_has_mean_one_against_the_prior():
    theta, kl, noise = descents(np.random.default_rng(3), 40_000, steps=6)
    weights = np.exp(-(kl + noise))
    assert weights.mean() == pytest.approx(1, abs=4 * weights.std() / 200)
    prior, _, _ = descents_of_prior(np.random.default_rng(4), 40_000, steps=6)
    for statistic in (lambda x: x[:, 0], lambda x: x[:, 0] ** 2):  # reweighted, the path is the prior's
        own = weights * statistic(theta)
        error = math.hypot(own.std(), statistic(prior).std()) / 200
        assert own.mean() == pytest.approx(statistic(prior).mean(), abs=4 * error)
    assert noise.mean() == pytest.approx(0, abs=4 * noise.std() / 200)


def descents_of_prior(rng, paths, steps, rate=0.3, scale=0.2):
    theta = np.zeros((paths, 2))
    for _ in range(steps):
        theta = theta - rate * (theta**3 - theta) + scale * rng.standard_normal(theta.shape)
    return theta, None, None


def test_the_cost_of_a_path():
    assert langevin.path_cost([1.0, 1.0], [0.5, -3.0]).tolist() == [1.5, 0.0]
    with pytest.raises(ValueError, match="finite"):
        langevin.path_cost(np.nan, 0.0)
    x = np.random.default_rng(5).uniform(0.5, 1.5, size=N)
    assert langevin.upper_limit(x, UPPER, DELTA, 3.0, 1.0) == betting.upper_limit(x, UPPER, DELTA, 4.0)
