"""The likelihood ratio of noisy paths: against Gaussian densities, by change of measure, and exactly 0 for J = S."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from iclkit.api import Batch, Key
from iclkit_trainers.configs import LangevinConfig
from iclkit_trainers.langevin_trainer import LangevinTrainer

V, T = 3, 2


class Listed:
    """Given sequences of one topic."""

    def __init__(self, tokens):
        self.tokens, self.count, self.weights = tokens, len(tokens), torch.ones(1, dtype=torch.float64)

    def all(self, chunk):
        number = torch.arange(self.count)
        mask = torch.ones(self.tokens.shape, dtype=torch.bool)
        yield Batch(tokens=self.tokens, mask=mask, topics=None, topic=torch.zeros_like(number), number=number)

    def batch(self, step, size, rows=slice(None)):
        (whole,) = self.all(0)
        chosen = torch.arange(step * size, (step + 1) * size)[rows] % self.count
        return whole.replace(**{name: getattr(whole, name)[chosen] for name in ("tokens", "mask", "topic", "number")})

    def subset(self, topics=None, sequences=None):
        return Listed(self.tokens[:sequences])


class TableJob:
    """A bigram table of 12 weights on 8 sequences."""

    start = prior = None
    length = T

    def __init__(self, seed=0, dtype=torch.float32):
        self.module = nn.Embedding(V + 1, V).to(dtype)
        with torch.no_grad():
            self.module.weight.copy_(Key.root(5).normal(V + 1, V))
        self.key = Key.root(seed)
        self.data = Listed(Key.root(7).integers(V, 8, T))

    def loss(self, module, batch):
        inputs = functional.pad(batch.tokens[:, :-1], (1, 0), value=V)
        return functional.cross_entropy(module(inputs).mT, batch.tokens, reduction="none")

    def restore(self):
        return None

    def save(self, step, state):
        pass

    def progress(self, step, steps, loss):
        pass


FIELDS = {"steps": 3, "learning_rate": 0.5, "beta": 20.0, "snapshots": (0, 1, 2), "subset_sequences": 3}


def path(job, **fields):
    """Return the snapshots of a path."""
    return list(LangevinTrainer(LangevinConfig(**FIELDS | fields)).fit(job))


def log_ratio(snapshot):
    """ln dQ/dP of the path to a snapshot: the sums up to the update before it."""
    history = snapshot.history
    assert history["step"][-1] == snapshot.step - 1
    return history["path_kl"][-1] + history["path_noise"][-1]


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_ratio_is_that_of_the_gaussian_transition_densities(decay):
    """N(theta'; theta - eta (g + decay theta), 2 eta / beta I) for S and for J, gradients taken anew, float64."""
    job = TableJob(dtype=torch.float64)
    snapshots = path(job, weight_decay=decay)
    total = 0.0
    for now, after in pairwise(snapshots):
        theta, distances = now.weights["weight"], []
        for tokens in (job.data.tokens[:3], job.data.tokens):  # J, S
            weight = theta.clone().requires_grad_()
            inputs = functional.pad(tokens[:, :-1], (1, 0), value=V)
            loss = functional.cross_entropy(weight[inputs].flatten(0, 1), tokens.flatten())
            (gradient,) = torch.autograd.grad(loss, weight)
            mean = theta - 0.5 * (gradient + decay * theta)
            distances.append(float((after.weights["weight"] - mean).square().sum()))
        total += (distances[0] - distances[1]) / (2 * 2 * 0.5 / 20.0)
        assert log_ratio(after) == pytest.approx(total, rel=1e-9)
    history = snapshots[-1].history
    assert history["noise_scale"].tolist() == [math.sqrt(2 * 0.5 / 20.0)] * 3
    np.testing.assert_allclose(history["path_kl"], history["step_kl"].cumsum())
    np.testing.assert_allclose(history["path_noise"], history["step_noise"].cumsum())
    assert all(array.dtype == np.float64 for name, array in history.items() if name not in ("step", "loss"))


def test_change_of_measure_from_q_to_p():
    """E_Q[dP/dQ] = 1 and E_Q[dP/dQ f] = E_P[f], f linear in the last weights, so that the noise's sign matters."""
    paths = 400
    ratios, ends, prior_ends = np.zeros(paths), [], []
    for seed in range(paths):
        last = path(TableJob(seed), snapshots=())[-1]
        ratios[seed] = math.exp(-log_ratio(last))
        ends.append(last.weights["weight"].flatten())
        job = TableJob(paths + seed)
        job.data = job.data.subset(sequences=3)  # P: the same descent with the subset alone
        prior_ends.append(path(job, snapshots=())[-1].weights["weight"].flatten())
    ends, prior_ends = torch.stack(ends).double().numpy(), torch.stack(prior_ends).double().numpy()
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / math.sqrt(paths)
    assert 0.05 < np.log(ratios).var() < 2, "the ratio says something, and is not ruled by a few paths"
    direction = ends.mean(0) - prior_ends.mean(0)
    f, g = ends @ direction, prior_ends @ direction
    error = math.sqrt(((ratios * (f - f.mean())).var() + g.var()) / paths)
    assert abs((ratios * (f - f.mean())).mean() + f.mean() - g.mean()) < 4 * error
    assert abs(f.mean() - g.mean()) > 6 * error, "unweighted they differ, by more than the tolerance"


@pytest.mark.parametrize("batch_size", ["full", 4])
@pytest.mark.parametrize("fields", [{"subset_sequences": 8}, {"subset_sequences": None}], ids=["same", "none"])
def test_with_all_data_as_the_subset_the_sums_are_exactly_zero(batch_size, fields):
    history = path(TableJob(), batch_size=batch_size, steps=20, **fields)[-1].history
    for name in ("step_kl", "step_noise", "path_kl", "path_noise"):
        assert (history[name] == 0.0).all()
    assert (history["gradient_norm"] > 0).all()


def test_the_update_before_a_snapshot_is_always_recorded():
    snapshots = path(TableJob(), steps=40, snapshots=(11, 30), resolution=2)
    assert [snapshot.history["step"][-1] for snapshot in snapshots] == [10, 29, 39]
    dense = path(TableJob(), steps=40, snapshots=(11, 30), resolution=64)
    for one, other in zip(snapshots, dense, strict=True):
        assert log_ratio(one) == log_ratio(other)


def test_tokens_are_those_of_the_gradients_of_s():
    assert path(TableJob())[-1].tokens_seen == 3 * 8 * T
    assert path(TableJob(), batch_size=4)[-1].tokens_seen == 3 * 4 * T


def test_it_learns_at_low_temperature(tiny, job_of):
    tiny["data"] |= {"topics": 1, "sequences": 30}
    tiny["trainer"] = {"kind": "langevin", "steps": 60, "learning_rate": 0.3, "beta": 1e7, "snapshots": [0]}
    job = job_of(tiny)
    loss = list(job.config.trainer.build().fit(job))[-1].history["loss"].mean(1)
    assert loss[-1] < loss[0] - 0.05


class QuadraticJob(TableJob):
    """4096 replicas of a quadratic loss in two weights, all replicas in one table: the noise of each is its own."""

    CURVATURE, START = torch.tensor([1.0, 4.0]), torch.tensor([2.0, -1.0])

    def __init__(self):
        super().__init__()
        self.module = nn.Embedding(4096, 2)
        with torch.no_grad():
            self.module.weight.copy_(self.START.expand(4096, 2))

    def loss(self, module, batch):
        return (0.5 * self.CURVATURE * module.weight.square()).sum().expand(batch.tokens.shape)


@pytest.mark.parametrize("resolution", [1, 16])
def test_a_quadratic_case_has_the_moments_of_the_ornstein_uhlenbeck_process(resolution):
    """At the full step those of its own recursion, exact for any step; at a 16th of it those of the diffusion, too."""
    rate, beta, time = 0.2 / resolution, 10.0, 3.0
    steps = round(time / rate)
    last = path(QuadraticJob(), learning_rate=rate, beta=beta, steps=steps, snapshots=(), subset_sequences=None)[-1]
    found = last.weights["weight"].double()
    a = QuadraticJob.CURVATURE.double()
    kept = (1 - rate * a) ** steps
    moments = kept * QuadraticJob.START, 2 * rate / beta * (1 - kept**2) / (1 - (1 - rate * a) ** 2)
    limit = torch.exp(-a * time) * QuadraticJob.START, (1 - torch.exp(-2 * a * time)) / (beta * a)
    errors = (moments[1] / 4096).sqrt(), moments[1] * math.sqrt(2 / 4096)
    measured = found.mean(0), found.var(0)
    for value, own, diffusion, error in zip(measured, moments, limit, errors, strict=True):
        assert ((value - own).abs() < 4 * error).all()
        near = (value - diffusion).abs() < 4 * error + 0.1 * diffusion.abs() + 0.01
        assert near.all() or resolution == 1
    assert (moments[1] > 1.3 * limit[1]).any() or resolution == 16, "a large step is not the diffusion"
