"""Second opinions of libraries that are not test dependencies: pip install dynamax==1.0.3 pomegranate==1.1.2.

Each part runs where its library is installed. Both are asked for the log-likelihood of sequences; dynamax for the
Kalman filter too.
"""

import numpy as np
import pytest
import torch

import iclkit
from iclkit.api import Batch, Key


def _sampled(source, count, length, seed=0):
    """Return a batch of one topic of a source."""
    numbers = torch.arange(1, 2)
    topics = source.topics(numbers, Key.root(seed).fold("topics").fold(numbers))
    number = torch.arange(1, count + 1)
    topic = torch.zeros(count, dtype=torch.int64)
    tokens, mask = source.sample(topics, topic, number, length, Key.root(seed).fold(number))
    mask = torch.ones(tokens.shape[:2], dtype=torch.bool) if mask is None else mask
    return Batch(tokens=tokens, mask=mask, topics=topics, topic=topic, number=number)


def _state_emitting(machines):
    """Return (start, chain, emission) of a machine whose token depends on the state it leaves alone."""
    joint = machines.transitions[0].numpy()  # (V, S, S)
    emission, chain = joint.sum(2).T, joint.sum(0)
    np.testing.assert_allclose(joint, emission.T[:, :, None] * chain[None], atol=1e-14)
    return machines.start[0].numpy(), chain, emission


def test_random_hmm_against_dynamax():
    jax = pytest.importorskip("jax")
    pytest.importorskip("dynamax")
    from dynamax.hidden_markov_model import hmm_filter

    jax.config.update("jax_enable_x64", True)
    batch = _sampled(iclkit.source("random-hmm", states=10, vocabulary=6), 5, 300)
    start, chain, emission = _state_emitting(batch.topics)
    ours = iclkit.source("random-hmm", states=10, vocabulary=6).oracle().log_prob(batch).sum(1)
    for row, tokens in enumerate(batch.tokens.numpy()):
        theirs = float(hmm_filter(start, chain, np.log(emission[:, tokens].T)).marginal_loglik)
        assert float(ours[row]) == pytest.approx(theirs, rel=1e-10)


@pytest.fixture
def _float64():
    """Make float64 torch's default: pomegranate keeps its emissions in the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("_float64")
def test_random_hmm_against_pomegranate():
    pytest.importorskip("pomegranate")
    from pomegranate.distributions import Categorical
    from pomegranate.hmm import DenseHMM

    source = iclkit.source("random-hmm", states=4, vocabulary=3)
    batch = _sampled(source, 4, 60)
    start, chain, emission = _state_emitting(batch.topics)
    leave = 1e-3  # pomegranate's machine ends with some probability; the same at every state, so it is known
    model = DenseHMM(
        [Categorical(torch.tensor(row[None])) for row in emission],
        edges=torch.tensor(chain),
        starts=torch.tensor(start),
        ends=torch.full((len(start),), leave, dtype=torch.float64),
    )
    ours = source.oracle().log_prob(batch).sum(1)
    theirs = model.log_probability(batch.tokens[..., None]) - np.log(leave)
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-10)


def test_kalman_filter_against_dynamax():
    jax = pytest.importorskip("jax")
    pytest.importorskip("dynamax")
    from dynamax.linear_gaussian_ssm import LinearGaussianSSM

    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    noise, dimension, observed = 0.1, 4, 2
    source = iclkit.source("lds", dimension=dimension, observed=observed, noise=noise)
    batch = _sampled(source, 3, 30)
    transition = jnp.asarray(batch.topics.transition[0].numpy()).T  # row vectors here, column vectors there
    readout = jnp.asarray(batch.topics.readout[0].numpy()).T
    eye = jnp.eye(dimension)
    model = LinearGaussianSSM(dimension, observed)
    parameters, _ = model.initialize(
        initial_mean=jnp.zeros(dimension),
        initial_covariance=noise**2 * eye,  # the state after x_0 = 0
        dynamics_weights=transition,
        dynamics_covariance=noise**2 * eye,
        emission_weights=readout,
        emission_covariance=1e-14 * jnp.eye(observed),
    )
    ours = source.oracle().log_prob(batch).sum(1)
    for row, tokens in enumerate(batch.tokens.numpy()):
        theirs = float(model.marginal_log_prob(parameters, jnp.asarray(tokens)))
        assert float(ours[row]) == pytest.approx(theirs, rel=1e-6)
