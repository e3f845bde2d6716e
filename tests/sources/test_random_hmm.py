"""Random hidden Markov models: their law, hmmlearn, stationary starts; and the draws beneath them."""

import numpy as np
import pytest
import torch
from hmmlearn.hmm import CategoricalHMM
from scipy import stats

from iclkit.api import Key
from iclkit.predictors import mixture_over
from iclkit_sources.dirichlet import draw_log_dirichlet
from iclkit_sources.machines.stationary import stationary


def rows_of(topics):
    """Return the transition and emission matrices of state-emitting machines, (K, S, S) and (K, S, V)."""
    return topics.transitions.sum(1), topics.transitions.sum(-1).transpose(1, 2)


def test_agrees_with_hmmlearn(kit):
    source = kit.make("random-hmm", states=12, vocabulary=9, transitions=0.3, emissions=0.2)
    topics = kit.topics_of(source, [5, 17])
    batch = kit.draw(source, topics, [0, 1], 4096)
    moves, shown = rows_of(topics)
    totals = source.oracle().log_prob(batch).sum(1)
    for k in range(2):
        peer = CategoricalHMM(n_components=12, n_features=9, init_params="", params="")
        peer.startprob_, peer.transmat_ = topics.start[k].numpy(), moves[k].numpy()
        peer.emissionprob_ = shown[k].numpy()
        assert float(totals[k]) == pytest.approx(peer.score(batch.tokens[k, :, None].numpy()), rel=1e-10)


def test_rows_are_dirichlet(kit):
    source = kit.make("random-hmm", states=3, vocabulary=4, transitions=0.5, emissions=2.0)
    moves, shown = rows_of(kit.topics_of(source, range(1, 1501)))
    for rows, concentration in ((moves, 0.5), (shown, 2.0)):
        size = rows.shape[-1]
        law = stats.beta(concentration, concentration * (size - 1))  # of each entry
        for state in range(3):
            for entry in (0, size - 1):
                assert stats.kstest(rows[:, state, entry].numpy(), law.cdf).pvalue > 1e-4
        rows = rows - 1 / size
        between = (rows[:, 0] * rows[:, 1]).sum() / (rows[:, 0].norm() * rows[:, 1].norm())
        assert abs(float(between)) < 0.1


def test_rows_of_unequal_concentrations():
    concentration = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64)
    key = Key.root(2).fold(torch.arange(1000))
    rows = draw_log_dirichlet(concentration, 4, key)
    np.testing.assert_allclose(rows.exp().sum(-1), 1, atol=1e-14)
    for entry, alpha in enumerate(concentration.tolist()):
        law = stats.beta(alpha, float(concentration.sum()) - alpha)
        assert stats.kstest(rows[:, :, entry].exp().flatten().numpy(), law.cdf).pvalue > 1e-4
    assert torch.equal(draw_log_dirichlet(concentration, 2, key[3:7]), rows[3:7, :2])


def test_tiny_concentrations_do_not_underflow():
    rows = draw_log_dirichlet(torch.full((5,), 1e-3, dtype=torch.float64), 3, Key.root(0).fold(torch.arange(200)))
    assert torch.isfinite(rows).all()
    assert rows.min() < -745  # what a float64 probability could not say


def test_topics_are_stationary_and_addressed(kit):
    source = kit.make("random-hmm", states=7, vocabulary=3, transitions=0.05)
    topics = kit.topics_of(source, range(1, 65))
    moves, _ = rows_of(topics)
    np.testing.assert_allclose(torch.einsum("ks,kst->kt", topics.start, moves), topics.start, atol=1e-13)
    for numbers in ([9], [3, 64, 9]):
        again = kit.topics_of(source, numbers)
        place = torch.tensor(numbers) - 1
        assert torch.equal(again.start, topics.start[place])
        assert torch.equal(again.transitions, topics.transitions[place])


def test_stationary_laws_of_chains_that_nearly_fall_apart():
    small = 1e-200
    chain = torch.tensor(
        [[[1 - 2 * small, 2 * small], [small, 1 - small]], [[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]]],
        dtype=torch.float64,
    )
    np.testing.assert_allclose(stationary(chain), [[1 / 3, 2 / 3], [0, 1], [1, 0]], rtol=1e-12, atol=1e-250)
    apart = stationary(torch.eye(3, dtype=torch.float64)[None])
    assert float(apart.sum()) == pytest.approx(1)


def test_mixture_in_chunks_is_bayes_rule(kit):
    source = kit.make("random-hmm", states=2, vocabulary=2)
    topics = kit.topics_of(source, range(1, 6))
    weights = torch.linspace(1, 2, 5, dtype=torch.float64)
    batch = kit.batch_of([[0, 1, 1, 0], [1, 1, 1, 1]], topics)
    each = torch.stack(
        [source.oracle().log_prob(kit.batch_of(batch.tokens, topics, [k] * 2)).cumsum(1).exp() for k in range(5)]
    )
    total = torch.cat([weights.sum().expand(2, 1), (weights[:, None, None] * each).sum(0)], dim=1).log().diff(dim=1)
    for chunk in (2, 64):
        np.testing.assert_allclose(mixture_over(source, topics, weights, chunk).log_prob(batch), total, atol=1e-12)


def test_rates_are_bracketed(kit):
    source = kit.make("random-hmm", states=2, vocabulary=2)
    topics = kit.topics_of(source, range(1, 4))
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    rate = source.entropy_rate(topics, weights)
    floor = source.optimum("oracle", topics, weights, 14)
    assert 0 < rate.error[0] < 1e-3
    assert rate.values[0] - rate.error[0] <= np.nanmin(floor.values) <= rate.values[0] + rate.error[0] + 1e-3
    batch = kit.draw(source, topics, torch.arange(3).repeat(200), 500)
    seen = -source.oracle().log_prob(batch).mean(1).reshape(200, 3)
    mean, spread = float(seen.mean(0) @ weights), float(seen.std(0).max()) / 200**0.5
    assert rate.values[0] == pytest.approx(mean, abs=5 * spread + 0.003)
    assert source.entropy_rate(None, None) is None
    assert source.optimum("oracle", None, None, 5) is None
