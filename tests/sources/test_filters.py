"""Exact filters against sums over all state paths, hmmlearn, and arithmetic in log space."""

import itertools
import math

import numpy as np
import pytest
import torch
from hmmlearn.hmm import CategoricalHMM

from iclkit.predictors import mixture_over
from iclkit_sources.machines.filters import MachineMixture, MachineOracle
from iclkit_sources.machines.listed import MachineSource
from iclkit_sources.machines.stack import Machines


def random_machines(seed, count, tokens, states, sharpness=1.0):
    rng = np.random.default_rng(seed)
    transitions = rng.gamma(sharpness, size=(count, states, tokens, states))
    transitions /= transitions.sum((2, 3), keepdims=True)
    start = rng.dirichlet(np.ones(states), size=count)
    return Machines(
        transitions=torch.from_numpy(transitions).transpose(1, 2).contiguous(),
        start=torch.from_numpy(start),
        numbers=torch.arange(1, count + 1),
    )


def path_probability(machines, k, word):
    """Return Pr(word | machine k) as a sum over all state paths."""
    transitions, start = machines.transitions[k].tolist(), machines.start[k].tolist()
    total = 0.0
    for path in itertools.product(range(machines.states), repeat=len(word) + 1):
        chance = start[path[0]]
        for token, (state, following) in zip(word, itertools.pairwise(path), strict=True):
            chance *= transitions[token][state][following]
        total += chance
    return total


def brute_force(machines, weights, word):
    """Return ln Pr(v | word[:l]) of the mixture for all l and v, (T, V), and the final posterior (K,)."""
    rows = []
    for position in range(len(word)):
        joint = [
            sum(weights[k] * path_probability(machines, k, (*word[:position], v)) for k in range(len(machines)))
            for v in range(machines.vocabulary)
        ]
        rows.append(np.log(np.array(joint) / sum(joint)))
    posterior = np.array([weights[k] * path_probability(machines, k, word) for k in range(len(machines))])
    return np.array(rows), posterior / posterior.sum()


@pytest.mark.parametrize("few", [6, 0], ids=["few states", "many states"])
def test_mixture_is_the_sum_over_all_paths(kit, monkeypatch, few):
    monkeypatch.setattr("iclkit_sources.machines.filters._FEW_STATES", few)
    machines = random_machines(3, 3, 3, 2)
    weights = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    words = list(itertools.product(range(3), repeat=4))
    batch = kit.batch_of(words, machines)
    mixture = MachineMixture(machines, weights)
    log_probs, posterior = mixture.distribution(batch).log_probs, mixture.posterior(batch)
    log_prob = mixture.log_prob(batch)
    for row, word in enumerate(words):
        expected, after = brute_force(machines, weights.tolist(), word)
        np.testing.assert_allclose(log_probs[row], expected, atol=1e-12)
        np.testing.assert_allclose(log_prob[row], expected[range(4), word], atol=1e-12)
        np.testing.assert_allclose(posterior[row], after, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 1 << 22])
def test_oracle_is_the_sum_over_all_paths(kit, monkeypatch, rows):
    monkeypatch.setattr("iclkit_sources.machines.filters._ORACLE_CELLS", rows)
    machines = random_machines(4, 2, 3, 3)
    words = list(itertools.product(range(3), repeat=3))
    topic = [row % 2 for row in range(len(words))]
    batch = kit.batch_of(words, machines, topic)
    log_probs, log_prob = MachineOracle().distribution(batch).log_probs, MachineOracle().log_prob(batch)
    for row, word in enumerate(words):
        expected, _ = brute_force(machines[topic[row] : topic[row] + 1], [1.0], word)
        np.testing.assert_allclose(log_probs[row], expected, atol=1e-12)
        np.testing.assert_allclose(log_prob[row], expected[range(3), word], atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_chunks_of_topics_merge_exactly(kit, chunk):
    machines = random_machines(5, 8, 3, 2)
    weights = torch.linspace(1, 3, 8, dtype=torch.float64)
    source = MachineSource(machines, weights)
    words = list(itertools.product(range(3), repeat=3))
    batch = kit.batch_of(words, machines)
    merged = mixture_over(source, machines, weights, chunk=chunk)
    expected = np.array([brute_force(machines, weights.tolist(), word)[0] for word in words])
    np.testing.assert_allclose(merged.distribution(batch).log_probs, expected, atol=1e-12)
    seen = torch.from_numpy(expected).gather(-1, batch.tokens[..., None]).squeeze(-1)
    np.testing.assert_allclose(merged.log_prob(batch), seen, atol=1e-12)


def from_state_emission(start, transition, emission):
    """Return the edge-emitting machine of a state-emitting model: emit from the state, then move."""
    transitions = torch.from_numpy(emission.T[:, :, None] * transition[None])  # (V, S, S)
    return Machines(
        transitions=transitions[None], start=torch.from_numpy(start)[None], numbers=torch.ones(1, dtype=torch.int64)
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_hmmlearn(kit, seed):
    rng = np.random.default_rng(seed)
    states, tokens, length = 20, 12, 4096
    start = rng.dirichlet(np.ones(states))
    transition = rng.dirichlet(np.full(states, 0.2), size=states)
    emission = rng.dirichlet(np.full(tokens, 0.3), size=states)
    peer = CategoricalHMM(n_components=states, n_features=tokens, init_params="", params="")
    peer.startprob_, peer.transmat_, peer.emissionprob_ = start, transition, emission
    words = np.stack([peer.sample(length, random_state=rng.integers(1 << 30))[0][:, 0] for _ in range(2)])
    machines = from_state_emission(start, transition, emission)
    batch = kit.batch_of(words, machines)
    for predictor in (MachineOracle(), MachineMixture(machines, torch.ones(1, dtype=torch.float64))):
        totals = predictor.log_prob(batch).sum(1)
        for total, word in zip(totals.tolist(), words, strict=True):
            assert total == pytest.approx(peer.score(word[:, None]), rel=1e-10)


def in_log_space(machines, tokens):
    """Return the log-probabilities of tokens (T,) by a recursion that never leaves log space."""
    steps, belief = machines.transitions[0].log(), machines.start[0].log()
    totals = [torch.zeros((), dtype=torch.float64)]
    for token in tokens:
        belief = torch.logsumexp(belief[:, None] + steps[token], dim=0)
        totals.append(torch.logsumexp(belief, dim=0))
    return torch.stack(totals).diff()


def test_peaky_machines_never_underflow(kit):
    machines = random_machines(6, 2, 20, 100, sharpness=0.01)
    weights = torch.tensor([1.0, 1.0], dtype=torch.float64)
    batch = kit.draw(MachineSource(machines, weights), machines, [0, 1], 16384)
    for predictor in (MachineOracle(), MachineMixture(machines, weights)):
        log_prob = predictor.log_prob(batch)
        assert torch.isfinite(log_prob).all()
    log_prob = MachineOracle().log_prob(batch)
    for row in range(2):
        expected = in_log_space(machines[row : row + 1], batch.tokens[row, :300])
        np.testing.assert_allclose(log_prob[row, :300], expected, atol=1e-9)


def one_state(*rows):
    shown = torch.tensor(rows, dtype=torch.float64)
    return Machines(
        transitions=shown[:, :, None, None],
        start=torch.ones(len(rows), 1, dtype=torch.float64),
        numbers=torch.arange(1, len(rows) + 1),
    )


@pytest.mark.parametrize("few", [6, 0], ids=["few states", "many states"])
def test_impossible_tokens_disturb_nothing_else(kit, monkeypatch, few):
    monkeypatch.setattr("iclkit_sources.machines.filters._FEW_STATES", few)
    machines = one_state([0.5, 0.5, 0.0], [0.2, 0.4, 0.4])
    weights = torch.tensor([3.0, 1.0], dtype=torch.float64)
    batch = kit.batch_of([[0, 2, 1, 1], [0, 1, 0, 1]], machines, [0, 0])
    oracle = MachineOracle().log_prob(batch)
    assert oracle[0, 1] == -torch.inf
    assert oracle[0, 2:].isnan().all()
    np.testing.assert_allclose(oracle[1], np.log([0.5] * 4))
    mixture = MachineMixture(machines, weights)
    found, dead = mixture.log_prob(batch), kit.batch_of([[0, 2, 1, 1]])
    first = 0.75 * 0.5 + 0.25 * 0.2
    np.testing.assert_allclose(found[0], np.log([first, 0.25 * 0.2 * 0.4 / first, 0.4, 0.4]), atol=1e-14)
    none_left = MachineMixture(one_state([0.5, 0.5, 0.0]), weights[:1])
    log_prob, log_probs = none_left.log_prob(dead), none_left.distribution(dead).log_probs
    assert log_prob[0, 1] == -torch.inf
    assert log_prob[0, 2:].isnan().all()
    assert log_probs[0, 1].tolist() == pytest.approx([math.log(0.5), math.log(0.5), -math.inf])
    assert log_probs[0, 2:].isnan().all()


def test_a_topic_that_was_out_of_the_question_comes_back(kit):
    """After 5000 tokens the second topic has weight e^-3466; then the first becomes impossible."""
    machines = one_state([1.0, 0.0], [0.5, 0.5])
    batch = kit.batch_of([[0] * 5000 + [1, 1]])
    mixture = MachineMixture(machines, torch.ones(2, dtype=torch.float64))
    for log_prob in (mixture.log_prob(batch), mixture.distribution(batch).log_prob(batch.tokens)):
        assert float(log_prob[0, 5000]) == pytest.approx(5001 * math.log(0.5), rel=1e-12)
        assert float(log_prob[0, 5001]) == pytest.approx(math.log(0.5), rel=1e-9)


def test_padding_with_absent_states_is_exact(kit):
    machines = random_machines(8, 2, 3, 2)
    padded = Machines(
        transitions=torch.nn.functional.pad(machines.transitions, (0, 3, 0, 3)),
        start=torch.nn.functional.pad(machines.start, (0, 3)),
        numbers=machines.numbers,
    )
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    batches = [kit.draw(MachineSource(each, weights), each, [0, 1, 1], 40) for each in (machines, padded)]
    assert torch.equal(batches[0].tokens, batches[1].tokens)
    found = [MachineMixture(each, weights).log_prob(batches[0]) for each in (machines, padded)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-13)


def test_prediction_and_posterior_come_in_one_pass(kit):
    machines = random_machines(seed=3, count=4, tokens=2, states=3)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    words = torch.tensor(list(itertools.product(range(2), repeat=5)))
    mixture, batch = MachineMixture(machines, weights), kit.batch_of(words)
    distribution, posterior = mixture.predict(batch)
    assert torch.equal(distribution.log_probs, mixture.distribution(batch).log_probs)
    torch.testing.assert_close(posterior, mixture.posterior(batch), rtol=0, atol=1e-15)
