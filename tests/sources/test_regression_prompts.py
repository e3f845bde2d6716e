"""Prompts of linear regression: layout, samples, and predictors against the dense formulas."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from iclkit.api import Key, mixture_over

D, NOISE = 3, 0.4


@pytest.fixture
def source(kit):
    return kit.make("linear-regression", dimension=D, noise=NOISE)


def test_layout_and_mask(kit, source):
    facts = kit.component("linear-regression", dimension=D, noise=NOISE).facts
    assert (facts.space.dim, facts.space.scored, facts.noise) == (D + 1, 1, NOISE)
    topics = kit.topics_of(source, [4, 5])
    for length in (1, 2, 7):
        tokens, mask = source.sample(
            topics, torch.tensor([1]), torch.tensor([1]), length, Key.root(0).fold(torch.tensor([1]))
        )
        assert tokens.shape == (1, length, D + 1)
        assert mask[0].tolist() == [l % 2 == 0 for l in range(1, length + 1)]
        assert tokens[0, :, -1].tolist() == [float(scored) for scored in mask[0]]
        assert (tokens[0, 1::2, 1:-1] == 0).all()
    assert source.shots(6).tolist() == [0, 0, 1, 1, 2, 2]  # answers at l = 2, 4, 6


def test_samples_follow_the_model(kit, source):
    topics = kit.topics_of(source, [1])
    batch = kit.draw(source, topics, [0] * 4000, 6)
    inputs, answers = batch.tokens[:, 0::2, :-1], batch.tokens[:, 1::2, 0]
    assert scipy.stats.kstest(inputs.flatten().numpy(), "norm").pvalue > 1e-3
    residual = (answers - inputs @ topics.weights[0]) / NOISE
    assert scipy.stats.kstest(residual.flatten().numpy(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(residual.flatten().numpy(), inputs.flatten(0, 1).T.numpy())[0, 1:]).max() < 0.05
    many = kit.topics_of(source, range(1, 2000)).weights
    assert scipy.stats.kstest(many.flatten().numpy(), "norm").pvalue > 1e-3


def test_prefixes_and_neighbours_do_not_matter(kit, source):
    many, few = kit.topics_of(source, range(1, 40)), kit.topics_of(source, [7, 8])
    assert torch.equal(many.weights[6:8], few.weights)
    long = kit.draw(source, many, torch.arange(200) % 39, 20)
    for length in (1, 5, 12):
        short = kit.draw(source, few, [1, 0, 1], length, number=[8, 46, 47])
        assert torch.equal(long.tokens[[7, 45, 46], :length], short.tokens)


def test_population_is_the_posterior_by_the_dense_formula(kit, source):
    batch = kit.draw(source, kit.topics_of(source, [1, 2]), [0, 1], 13)
    found, logs = source.population().distribution(batch), source.population().log_prob(batch)
    for row, tokens in enumerate(batch.tokens.numpy()):
        X, y = tokens[0::2, :-1], tokens[1::2, 0]
        for n in range(len(y)):
            V = np.linalg.inv(np.eye(D) + X[:n].T @ X[:n] / NOISE**2)
            law = scipy.stats.norm(X[n] @ V @ X[:n].T @ y[:n] / NOISE**2, math.sqrt(NOISE**2 + X[n] @ V @ X[n]))
            assert float(found.mean[row, 2 * n + 1]) == pytest.approx(law.mean(), abs=1e-11)
            assert float(found.scale[row, 2 * n + 1]) == pytest.approx(law.std(), abs=1e-11)
            assert float(logs[row, 2 * n + 1]) == pytest.approx(law.logpdf(y[n]), abs=1e-10)


def test_mixture_is_discrete_bayes_whatever_the_chunks(kit, source):
    topics = kit.topics_of(source, range(1, 6))
    weights = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15], dtype=torch.float64)
    batch = kit.draw(source, topics, [0, 3, 4], 9)
    X, y = batch.tokens[:, 0::2, :-1][:, :4].numpy(), batch.tokens[:, 1::2, 0].numpy()
    means = np.einsum("bnd,kd->bkn", X, topics.weights.numpy())
    logs = scipy.stats.norm(means, NOISE).logpdf(y[:, None])
    joint = np.concatenate([np.zeros((3, 5, 1)), logs.cumsum(2)], axis=2) + weights.log().numpy()[:, None]
    evidence = scipy.special.logsumexp(joint, axis=1)
    mean = (np.exp(joint[:, :, :-1] - evidence[:, None, :-1]) * means).sum(1)
    for chunk in (1, 2, 5):
        mixture = mixture_over(source, topics, weights, chunk=chunk)
        np.testing.assert_allclose(mixture.log_prob(batch)[:, 1::2], np.diff(evidence, axis=1), rtol=0, atol=1e-10)
        np.testing.assert_allclose(mixture.mean(batch)[:, 1::2, 0], mean, rtol=0, atol=1e-10)
    posterior = source.mixture(topics, weights).posterior(batch)
    np.testing.assert_allclose(posterior, np.exp(joint[:, :, -1] - evidence[:, -1:]), rtol=0, atol=1e-10)


def test_all_agree_on_inputs(kit, source):
    """The law of x does not depend on the task: log-densities there are equal and move no posterior."""
    topics = kit.topics_of(source, range(1, 4))
    batch = kit.draw(source, topics, [0, 1, 2], 7)
    expected = scipy.stats.norm.logpdf(batch.tokens[:, 0::2, 0].numpy())
    mixture = mixture_over(source, topics, torch.full((3,), 1 / 3, dtype=torch.float64), chunk=2)
    for predictor in (source.oracle(), source.population(), mixture):
        np.testing.assert_allclose(predictor.log_prob(batch)[:, 0::2], expected, rtol=0, atol=1e-9)


def test_discrete_mmse_tends_to_ridge(kit):
    """Raventos et al.: with more tasks the mixture's mean comes to ridge's; with few it is far from it."""
    source = kit.make("linear-regression", dimension=2, noise=0.5)
    batch = kit.draw(source, kit.topics_of(source, range(1, 65)), range(64), 12)
    ridge = source.baselines()["ridge"].distribution(batch).mean
    torch.testing.assert_close(ridge, source.population().distribution(batch).mean, rtol=0, atol=1e-11)
    apart = []
    for count in (4, 64, 1024, 16384):
        topics = kit.topics_of(source, range(10_000, 10_000 + count))
        mean = source.mixture(topics, torch.ones(count).double()).mean(batch)
        apart.append(float((mean - ridge)[:, 1::2].square().mean()))
    assert apart == sorted(apart, reverse=True)
    assert apart[0] > 0.5
    assert apart[-1] < 0.01


def test_blocks_of_tasks_change_nothing(kit, source, monkeypatch):
    topics, weights = kit.topics_of(source, range(1, 8)), torch.arange(1.0, 8.0, dtype=torch.float64)
    batch = kit.draw(source, topics, [0, 3, 6, 2], 9)
    whole = source.mixture(topics, weights)
    log_prob, mean = whole.log_prob(batch), whole.mean(batch)
    monkeypatch.setattr("iclkit_sources.linear.prompts._CELLS", 3 * 16)
    torch.testing.assert_close(whole.log_prob(batch), log_prob, rtol=0, atol=1e-11)
    torch.testing.assert_close(whole.mean(batch), mean, rtol=0, atol=1e-11)


def test_optimum_of_the_oracle(kit, source):
    exact = source.optimum("oracle", None, None, 5)
    assert exact.values[[0, 2, 4]] == pytest.approx(0.5 * math.log(2 * math.pi * math.e))
    topics = kit.topics_of(source, range(1, 3000))
    batch = kit.draw(source, topics, range(2999), 4)
    realised = -source.oracle().log_prob(batch)[:, 1::2].mean(0)
    np.testing.assert_allclose(exact.values[[1, 3]], realised, atol=5 * math.sqrt(0.5 / 2999))
    assert source.optimum("population", None, None, 5) is None


def test_a_single_input_is_predicted(kit, source):
    topics = kit.topics_of(source, [1, 2])
    batch = kit.draw(source, topics, [0, 1], 1)
    mixture = source.mixture(topics, torch.ones(2).double())
    for predictor in (source.oracle(), source.population(), mixture, *source.baselines().values()):
        assert predictor.log_prob(batch).shape == (2, 1)
    assert mixture.mean(batch).shape == (2, 1, 1)
