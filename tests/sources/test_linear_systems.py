"""Linear dynamical systems: draws, samples and predictors against dense Gaussian algebra."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from iclkit.api import Key, mixture_over
from iclkit_sources.linear import kalman

EQUAL = {"rtol": 0, "atol": 1e-10}
KINDS = [
    {"dimension": 3},
    {"dimension": 3, "draw": "scaled", "start": "stationary"},
    {"dimension": 3, "draw": "scaled", "observed": 2},
    {"dimension": 3, "observed": 1, "start": "stationary"},
    {"dimension": 2, "draw": "gaussian", "tau": 0.8, "noise": 0.3},
    {"dimension": 2, "observed": 2, "draw": "gaussian"},
]


def joint_covariance(topics, index, noise, length):
    """Covariance of (y_1, .., y_T) stacked, from x_l = x_1 W^(l-1) + sum of later noise: dense, for any system."""
    W = topics.transition[index].numpy()
    d = len(W)
    first = noise**2 * np.eye(d) if topics.first is None else (lambda L: L @ L.T)(topics.first[index].numpy())
    C = np.eye(d) if topics.readout is None else topics.readout[index].numpy()
    shocks = [first] + [noise**2 * np.eye(d)] * (length - 1)
    o = C.shape[1]
    whole = np.zeros((length * o, length * o))
    for i in range(length):
        for j in range(length):
            total = sum(
                np.linalg.matrix_power(W, i - s).T @ shocks[s] @ np.linalg.matrix_power(W, j - s)
                for s in range(min(i, j) + 1)
            )
            whole[i * o : (i + 1) * o, j * o : (j + 1) * o] = C.T @ total @ C
    return whole


def conditionals(covariance, tokens):
    """Means, covariances and log-densities of each block given those before, by dense conditioning."""
    length, o = tokens.shape
    flat = tokens.reshape(-1)
    means, spreads, logs = [], [], []
    for at in range(length):
        a, b = slice(at * o, (at + 1) * o), slice(0, at * o)
        gain = covariance[a, b] @ np.linalg.inv(covariance[b, b]) if at else np.zeros((o, 0))
        means.append(gain @ flat[b])
        spreads.append(covariance[a, a] - gain @ covariance[b, a])
        logs.append(scipy.stats.multivariate_normal(means[-1], spreads[-1]).logpdf(tokens[at]))
    return np.array(means), np.array(spreads), np.array(logs)


@pytest.mark.parametrize("fields", KINDS, ids=str)
def test_oracle_is_gaussian_conditioning(kit, fields):
    source = kit.make("lds", **fields)
    topics = kit.topics_of(source, [1, 2, 3])
    batch = kit.draw(source, topics, [0, 2, 2, 1], 5)
    known = source.oracle().distribution(batch)
    logs = source.oracle().log_prob(batch)
    for row, topic in enumerate(batch.topic.tolist()):
        covariance = joint_covariance(topics, topic, fields.get("noise", 1.0), 5)
        mean, spread, log = conditionals(covariance, batch.tokens[row].numpy())
        np.testing.assert_allclose(known.mean[row], mean, rtol=0, atol=1e-10)
        np.testing.assert_allclose((known.scale_tril @ known.scale_tril.mT)[row], spread, rtol=0, atol=1e-10)
        np.testing.assert_allclose(logs[row], log, rtol=0, atol=1e-9)


@pytest.mark.parametrize("fields", KINDS, ids=str)
def test_mixture_is_bayes_whatever_the_chunks(kit, fields):
    source = kit.make("lds", **fields)
    topics = kit.topics_of(source, range(1, 6))
    weights = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15], dtype=torch.float64)
    batch = kit.draw(source, topics, [0, 3, 4], 6)
    dense = [
        [conditionals(joint_covariance(topics, k, fields.get("noise", 1.0), 6), row.numpy()) for k in range(5)]
        for row in batch.tokens
    ]
    logs = np.array([[one[2] for one in row] for row in dense])  # (B, K, T)
    joint = np.concatenate([np.zeros((3, 5, 1)), logs.cumsum(2)], axis=2) + weights.log().numpy()[:, None]
    evidence = scipy.special.logsumexp(joint, axis=1)
    expected = np.diff(evidence, axis=1)
    posterior = np.exp(joint - evidence[:, None])  # (B, K, T + 1)
    mean = np.einsum("bkt,bkto->bto", posterior[:, :, :-1], np.array([[one[0] for one in row] for row in dense]))
    for chunk in (1, 2, 5):
        mixture = mixture_over(source, topics, weights, chunk=chunk)
        np.testing.assert_allclose(mixture.log_prob(batch), expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(mixture.mean(batch), mean, rtol=0, atol=1e-9)
        assert mixture.distribution(batch) is None
    own = source.mixture(topics, 7 * weights)
    np.testing.assert_allclose(own.posterior(batch), posterior[:, :, -1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("fields", [KINDS[0], KINDS[2]], ids=str)
def test_mixture_in_small_blocks_is_the_same(kit, fields, monkeypatch):
    source = kit.make("lds", **fields)
    topics, weights = kit.topics_of(source, range(1, 8)), torch.arange(1.0, 8.0, dtype=torch.float64)
    batch = kit.draw(source, topics, [0, 3, 6, 2], 9)
    whole = source.mixture(topics, weights)
    log_prob, mean, posterior = whole.log_prob(batch), whole.mean(batch), whole.posterior(batch)
    cells = 3 * (batch.tokens if fields.get("observed") else batch.tokens[..., 0]).numel()  # three systems
    monkeypatch.setattr("iclkit_sources.linear.predictors._CELLS", cells)
    monkeypatch.setattr(kalman, "_CELLS", 2 * 9 * 3 * 2)
    torch.testing.assert_close(whole.log_prob(batch), log_prob, **EQUAL)
    torch.testing.assert_close(whole.mean(batch), mean, **EQUAL)
    torch.testing.assert_close(whole.posterior(batch), posterior, **EQUAL)


@pytest.mark.parametrize("fields", [KINDS[0], KINDS[2]], ids=str)
def test_systems_of_no_weight_are_not_there(kit, fields, monkeypatch):
    source = kit.make("lds", **fields)
    topics, weights = kit.topics_of(source, range(1, 8)), torch.tensor([0, 0, 0, 2, 0, 1, 0], dtype=torch.float64)
    batch = kit.draw(source, topics, [3, 0], 9)
    monkeypatch.setattr("iclkit_sources.linear.predictors._CELLS", 1)
    found, expected = source.mixture(topics, weights), source.mixture(topics[torch.tensor([3, 5])], weights[[3, 5]])
    torch.testing.assert_close(found.log_prob(batch), expected.log_prob(batch), **EQUAL)
    torch.testing.assert_close(found.mean(batch), expected.mean(batch), **EQUAL)
    torch.testing.assert_close(found.posterior(batch)[:, [3, 5]], expected.posterior(batch), **EQUAL)


def test_population_is_the_posterior_by_the_dense_formula(kit):
    """Given the prefix, vec(W) is Gaussian: precision I / tau^2 + X^T X / noise^2 for every column."""
    tau, noise, d = 0.7, 0.4, 3
    source = kit.make("lds", dimension=d, draw="gaussian", tau=tau, noise=noise)
    topics = kit.topics_of(source, [5, 6])
    batch = kit.draw(source, topics, [0, 1], 8)
    found = source.population().distribution(batch)
    for row, tokens in enumerate(batch.tokens.numpy()):
        states = np.vstack([np.zeros(d), tokens])
        for at in range(len(tokens)):
            X, Y = states[:at], states[1 : at + 1]
            V = np.linalg.inv(np.eye(d) / tau**2 + X.T @ X / noise**2)
            mean = states[at] @ V @ X.T @ Y / noise**2
            np.testing.assert_allclose(found.mean[row, at], mean, rtol=0, atol=1e-11)
            deviation = math.sqrt(noise**2 + states[at] @ V @ states[at])
            np.testing.assert_allclose(found.scale[row, at], np.full(d, deviation), rtol=0, atol=1e-11)


def test_mixture_of_many_tends_to_the_population(kit):
    """In one dimension 40000 systems fill the prior; few do not (systems that explode would need more)."""
    source = kit.make("lds", dimension=1, draw="gaussian", tau=0.4)
    batch = kit.draw(source, kit.topics_of(source, range(1, 9)), range(8), 10)
    exact = source.population().log_prob(batch)
    apart = {}
    for count in (4, 40_000):
        topics = kit.topics_of(source, range(1000, 1000 + count))
        apart[count] = float((source.mixture(topics, torch.ones(count).double()).log_prob(batch) - exact).abs().max())
    assert apart[40_000] < 0.03
    assert apart[4] > 0.3


def test_an_explosive_system_breaks_no_recursion(kit):
    source = kit.make("lds", dimension=4, draw="gaussian", tau=1.5)
    batch = kit.draw(source, kit.topics_of(source, range(1, 200)), range(199), 30)
    assert batch.tokens.abs().max() > 1e12
    found = source.population().distribution(batch)
    assert found.mean.isfinite().all()
    assert (found.scale >= 1).all()
    far = (batch.tokens[:, 6:].abs().amax(2) > 1e4) & (batch.tokens[:, 6:].abs().amax(2) < 1e12)  # noise has digits
    white = ((batch.tokens - found.mean) / found.scale)[:, 6:][far]  # standard normal if the recursion kept its own
    assert len(white) > 1000
    assert abs(float(white.square().mean()) - 1) < 5 * math.sqrt(2 / white.numel())


def test_draws_are_what_they_are_called(kit):
    for fields, expected in (
        ({"draw": "orthogonal"}, 0.9),
        ({"draw": "scaled"}, 0.9),
        ({"draw": "scaled", "radius": 1.1}, 1.1),
    ):
        W = kit.topics_of(kit.make("lds", dimension=6, **fields), range(1, 50)).transition
        np.testing.assert_allclose(np.abs(np.linalg.eigvals(W.numpy())).max(1), expected, rtol=1e-13)
    rotations = kit.topics_of(kit.make("lds", dimension=6), range(1, 50)).transition / 0.9
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(6).double().expand_as(rotations), rtol=0, atol=1e-14)
    assert {round(float(value)) for value in torch.linalg.det(rotations)} == {-1, 1}
    entries = kit.topics_of(kit.make("lds", dimension=6, draw="gaussian", tau=0.5), range(1, 500)).transition
    assert scipy.stats.kstest(entries.flatten().numpy(), scipy.stats.norm(0, 0.5).cdf).pvalue > 1e-3


def test_rotations_are_uniform(kit):
    """In the plane: half are rotations by a uniform angle. In space an entry is uniform on [-1, 1]."""
    plane = kit.topics_of(kit.make("lds", dimension=2, radius=1.0), range(1, 3000)).transition
    turns = torch.linalg.det(plane) > 0
    assert scipy.stats.binomtest(int(turns.sum()), len(turns)).pvalue > 1e-3
    angles = torch.atan2(plane[turns][:, 0, 1], plane[turns][:, 0, 0]) / (2 * math.pi) + 0.5
    assert scipy.stats.kstest(angles.numpy(), "uniform").pvalue > 1e-3
    space = kit.topics_of(kit.make("lds", dimension=3, radius=1.0), range(1, 3000)).transition
    for i in range(3):
        for j in range(3):
            assert scipy.stats.kstest(space[:, i, j].numpy(), scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-4


@pytest.mark.parametrize("fields", KINDS, ids=str)
def test_samples_have_the_joint_covariance(kit, fields):
    source = kit.make("lds", **fields)
    topics = kit.topics_of(source, [3])
    batch = kit.draw(source, topics, [0] * 20_000, 4)
    covariance = joint_covariance(topics, 0, fields.get("noise", 1.0), 4)
    flat = batch.tokens.flatten(1).numpy()
    white = np.linalg.solve(np.linalg.cholesky(covariance), flat.T)
    distances = (white**2).sum(0)  # chi-square of T o degrees of freedom
    assert scipy.stats.kstest(distances, scipy.stats.chi2(flat.shape[1]).cdf).pvalue > 1e-3
    sample = white @ white.T / len(flat)
    assert np.abs(sample - np.eye(len(sample))).max() < 5 * math.sqrt(2 / len(flat))


@pytest.mark.parametrize("fields", [*KINDS, {"dimension": 20, "draw": "scaled", "observed": 4}], ids=str)
def test_prefixes_and_neighbours_do_not_matter(kit, fields):
    source = kit.make("lds", **fields)
    many, few = kit.topics_of(source, range(1, 40)), kit.topics_of(source, [7, 8])
    for name in ("transition", "readout", "first"):
        if getattr(many, name) is not None:
            assert torch.equal(getattr(many, name)[6:8], getattr(few, name))
    long = kit.draw(source, many, torch.arange(600) % 39, 30)
    short = kit.draw(source, few, [1, 0, 1], 11, number=[8, 46, 47])
    assert torch.equal(long.tokens[[7, 45, 46], :11], short.tokens)


def test_no_global_generator_is_touched(kit):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    for fields in KINDS:
        source = kit.make("lds", **fields)
        topics = kit.topics_of(source, [1, 2])
        source.mixture(topics, torch.ones(2).double()).mean(kit.draw(source, topics, [0, 1], 4))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


@pytest.mark.parametrize("fields", KINDS, ids=str)
def test_optimum_of_the_oracle(kit, fields):
    source = kit.make("lds", **fields)
    topics, weights = kit.topics_of(source, [1, 2]), torch.tensor([0.3, 0.7], dtype=torch.float64)
    exact = source.optimum("oracle", topics, weights, 5)
    expected = 0.0
    for k in range(2):
        covariance = joint_covariance(topics, k, fields.get("noise", 1.0), 5)
        o = len(covariance) // 5
        log_dets = [np.linalg.slogdet(covariance[: l * o, : l * o])[1] if l else 0.0 for l in range(6)]
        expected = expected + weights[k].item() * 0.5 * (np.diff(log_dets) + o * math.log(2 * math.pi * math.e))
    np.testing.assert_allclose(exact.values, expected, rtol=0, atol=1e-9)
    assert exact.method == "closed-form"
    assert source.optimum("mixture", topics, weights, 5) is None
    family = source.optimum("oracle", None, None, 5)
    if fields.get("observed"):
        assert family is None
    else:
        known = ~np.isnan(family.values)
        np.testing.assert_allclose(family.values[known], expected[known], rtol=0, atol=1e-9)
        assert known[1:].all()


def test_the_optimum_is_shared_over_blocks(kit, monkeypatch):
    source = kit.make("lds", observed=2)
    topics, weights = kit.topics_of(source, range(1, 8)), torch.arange(1, 8).double() / 28
    whole = source.optimum("oracle", topics, weights, 6).values
    monkeypatch.setattr(kalman, "_CELLS", 2 * 6 * 3 * 2)
    np.testing.assert_allclose(source.optimum("oracle", topics, weights, 6).values, whole, rtol=1e-13)


def test_entropy_rate_is_that_of_the_stationary_kalman_filter(kit):
    source = kit.make("lds", dimension=4, observed=2, draw="scaled", noise=0.5)
    topics, weights = kit.topics_of(source, [1, 2, 3]), torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    expected = 0.0
    for k in range(3):
        W, C = topics.transition[k].numpy(), topics.readout[k].numpy()
        P = scipy.linalg.solve_discrete_are(W, C, 0.25 * np.eye(4), 1e-13 * np.eye(2))
        expected += float(weights[k]) * 0.5 * (np.linalg.slogdet(C.T @ P @ C)[1] + 2 * math.log(2 * math.pi * math.e))
    rate = source.entropy_rate(topics, weights)
    assert rate.values[0] == pytest.approx(expected, abs=1e-9)
    assert rate.error[0] < 1e-10
    assert kit.make("lds", noise=0.5).entropy_rate(None, None).values[0] == pytest.approx(
        3 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.5))
    )
    assert source.entropy_rate(None, None) is None


def test_the_loss_first_rises_as_measured(kit):
    """Scaled Gaussian W of 20 dimensions: ridge's error in units of d noise^2 first rises, then falls.

    The zero predictor's only rises: E |x_l|^2 / (d noise^2) is the sum over j < l of |W^j|^2 / d.
    """
    source = kit.make("lds", dimension=20, draw="scaled", noise=0.1)
    topics = kit.topics_of(source, range(1, 2001))
    batch = kit.draw(source, topics, range(2000), 41)
    ridge = source.baselines()["ridge"].distribution(batch).mean
    profile = (batch.tokens - ridge).square().sum(2).mean(0) / (20 * 0.1**2)
    at = [l - 1 for l in (1, 2, 3, 5, 8, 12, 20, 41)]
    measured = [0.99, 1.74, 2.31, 2.76, 2.79, 2.61, 2.17, 1.57]
    assert profile[at].tolist() == pytest.approx(measured, rel=0.04)
    zero = batch.tokens.square().sum(2).mean(0) / (20 * 0.1**2)
    power, total = torch.eye(20).double().expand_as(topics.transition), 0.0
    exact = []
    for _ in range(41):
        total = total + power.square().sum((1, 2)) / 20
        exact.append(float(total.mean()))
        power = power @ topics.transition
    np.testing.assert_allclose(zero, exact, rtol=0.05)
    assert exact == sorted(exact)


def test_baselines_fit_the_prefix(kit):
    source = kit.make("lds", dimension=2)
    batch = kit.draw(source, kit.topics_of(source, [1, 2, 3]), [0, 1, 2], 9)
    for window in (1, 2):
        ridge = source.baselines(alpha=0.1, window=window)["ridge"].distribution(batch).mean
        least = source.baselines(window=window)["least-squares"].distribution(batch).mean
        assert (ridge[:, :window] == 0).all()
        assert (least[:, : window + 1] == 0).all()
        for row, tokens in enumerate(batch.tokens.numpy()):
            for at in range(window + 1, 9):
                X = np.array(
                    [np.concatenate([tokens[i - lag] for lag in range(1, window + 1)]) for i in range(window, at + 1)]
                )
                Y = tokens[window:at]
                fitted = np.linalg.solve(X[:-1].T @ X[:-1] + 0.1 * np.eye(2 * window), X[:-1].T @ Y)
                np.testing.assert_allclose(ridge[row, at], X[-1] @ fitted, atol=1e-11)
                smallest = np.linalg.lstsq(X[:-1], Y, rcond=None)[0]
                np.testing.assert_allclose(least[row, at], X[-1] @ smallest, atol=1e-9)


def test_ridge_with_the_priors_penalty_is_the_population_mean_and_no_floor_elsewhere(kit):
    source = kit.make("lds", draw="gaussian", tau=0.6, noise=0.5)
    batch = kit.draw(source, kit.topics_of(source, range(1, 5)), range(4), 10)
    ridge = source.baselines()["ridge"].distribution(batch).mean
    torch.testing.assert_close(ridge, source.population().distribution(batch).mean, **EQUAL)
    for fields in KINDS[:4]:
        assert kit.make("lds", **fields).population() is None
        assert "population" not in kit.component("lds", **fields).facts.references


def test_baselines_of_short_prefixes(kit):
    source = kit.make("lds", dimension=2)
    batch = kit.draw(source, kit.topics_of(source, [1]), [0], 2)
    for predictor in source.baselines(window=3).values():
        assert predictor.log_prob(batch).isfinite().all()


def test_bad_parameters_name_the_field(kit):
    assert "observed" in kit.problems("lds", dimension=2, observed=3)
    assert "tau" in kit.problems("lds", tau=0.5)
    assert "start" in kit.problems("lds", draw="gaussian", start="stationary")
    assert "radius" in kit.problems("lds", radius=1.0, start="stationary")
    assert not kit.problems("lds", draw="gaussian", tau=0.5, noise=0.1, observed=2)


def test_the_scale_of_fixed_heads_is_that_of_the_innovation(kit):
    facts = kit.component("lds", dimension=20, observed=4, noise=0.1).facts
    assert facts.space.dim == facts.space.scored == 4
    source = kit.make("lds", dimension=20, observed=4, noise=0.1)
    readout = source.topics(torch.arange(1, 500), Key.root(0).fold(torch.arange(1, 500))).readout
    assert facts.noise == pytest.approx(0.1 * math.sqrt(20 / 4))
    assert 0.1 * float(readout.square().sum(1).mean().sqrt()) == pytest.approx(facts.noise, rel=0.02)
