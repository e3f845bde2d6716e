"""Plateau, accumulation, budgets, noise and costly records of the trainer, on a real job in a folder."""

import math

import numpy as np
import pytest
import torch

from iclkit.api import ConfigError, Key
from iclkit_trainers import loop
from iclkit_trainers.accelerate_trainer import make_optimizer
from iclkit_trainers.configs import AccelerateConfig, LangevinConfig
from iclkit_trainers.noise import Noise
from iclkit_trainers.schedules import Plateau


def fit(job, trainer):
    """Return the snapshots of a whole training."""
    return list(trainer.build().fit(job))


@pytest.fixture
def trained(tiny, job_of):
    """Train a tiny config with other settings and return its last snapshot."""

    def train(data=None, source=None, **trainer):
        tables = tiny | ({"source": source} if source else {})
        tables["data"] = tables["data"] | (data or {})
        defaults = {"kind": "accelerate", "steps": 12, "batch_size": 8, "snapshots": [0], "learning_rate": 0.05}
        job = job_of(tables | {"trainer": defaults | trainer})
        return fit(job, job.config.trainer)[-1]

    return train


@pytest.mark.parametrize(
    "trainer",
    [
        {"kind": "accelerate"},
        {"kind": "accelerate", "record": ["sequence-gradient", "discrepancy"], "subset_topics": 1},
        {"kind": "langevin", "beta": 1e4, "subset_topics": 1},
    ],
)
def test_the_spec_tells_the_columns_of_the_history(tiny, job_of, trainer):
    tiny["data"] |= {"topics": 3, "sequences": 4}
    job = job_of(tiny | {"trainer": trainer | {"steps": 2, "snapshots": [0]}})
    component = job.config.trainer
    told = component.spec.records(component.config)
    assert len(told) == len(set(told))
    assert {"step", *told} == fit(job, component)[-1].history.keys()


def assert_close(one, other, rtol=1e-4):
    for name in one.weights:
        torch.testing.assert_close(one.weights[name], other.weights[name], rtol=rtol, atol=1e-5)


# ---------------------------------------------------------------- the batch in pieces


@pytest.mark.parametrize("pieces", [2, 8])
def test_accumulated_pieces_make_the_same_update(trained, pieces):
    """A bos-less config masks position 1, so the pieces' sums and counts both matter."""
    whole = trained(data={"bos": False}, optimizer="sgd")
    cut = trained(data={"bos": False}, optimizer="sgd", accumulate=pieces)
    assert_close(whole, cut)
    np.testing.assert_allclose(cut.history["loss"], whole.history["loss"], rtol=1e-4)
    np.testing.assert_allclose(cut.history["gradient_norm"], whole.history["gradient_norm"], rtol=1e-4)


# ---------------------------------------------------------------- ends


def test_tokens_end_a_training_and_leave_the_schedule(trained):
    short = trained(schedule="cosine", max_tokens=5 * 64 + 63)
    assert (short.step, short.tokens_seen) == (5, 5 * 64)
    np.testing.assert_array_equal(
        short.history["learning_rate"], trained(schedule="cosine").history["learning_rate"][:5]
    )
    assert trained(max_tokens=10).step == 0
    assert trained(max_tokens=10**9).step == 12


def test_seconds_end_a_training_with_a_snapshot_and_earlier_sessions_count(tiny, job_of, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(loop, "time", type("Clock", (), {"monotonic": lambda: float(next(clock))}))
    tiny["trainer"] = {"kind": "accelerate", "steps": 100, "batch_size": 8, "snapshots": [0], "max_seconds": 10}
    job = job_of(tiny)
    training = job.config.trainer.build().fit(job)
    assert next(training).step == 0
    last = next(training)
    assert 5 < last.step < 11
    assert next(training, None) is None
    assert list(job.config.trainer.build().fit(job_of(tiny, again=True))) == [], "it ended"


def test_seconds_of_earlier_sessions_are_remembered(tiny, job_of, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(loop, "time", type("Clock", (), {"monotonic": lambda: float(next(clock))}))
    tiny["trainer"] = {"kind": "accelerate", "steps": 100, "batch_size": 8, "snapshots": [0, 6], "max_seconds": 10}
    job = job_of(tiny)
    first = job.config.trainer.build().fit(job)
    steps = [next(first).step for _ in range(3)]
    assert steps[:2] == [0, 6]
    first.close()  # the last snapshot was yielded, its state not saved
    assert job.restore()[0] == 6
    second = fit(job_of(tiny, again=True), job.config.trainer)
    assert 6 < second[-1].step <= steps[-1], "it does not begin to count anew"


# ---------------------------------------------------------------- the learning rate on a plateau


def test_plateau_lowers_the_rate_where_a_window_is_no_better():
    plateau = Plateau(window=2, factor=0.1, tolerance=0.01, warmup=1)
    scales = []
    for loss in (99.0, 3.0, 2.0, 1.0, 1.0, 1.0, 0.995, 0.9, 0.9):  # means 2.5, 1.0, 0.9975, 0.9
        plateau.observe(loss)
        scales.append(plateau.scale)
    assert scales == pytest.approx([1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1])
    assert [step for step in range(9) if plateau.due(step)] == [3, 5, 7]
    again = Plateau(window=2, factor=0.1, tolerance=0.01, warmup=1)
    again.load(plateau.state())
    assert torch.equal(again.state(), plateau.state())


def test_plateau_is_a_function_of_the_recorded_losses(trained):
    fields = {"steps": 60, "schedule": "plateau", "plateau_steps": 7, "warmup": 3, "plateau_tolerance": 0.01}
    history = trained(**fields, resolution=64).history
    plateau = Plateau(window=7, factor=0.5, tolerance=0.01, warmup=3)
    for step in range(60):
        rate = 0.05 * (step + 1) / 3 if step < 3 else 0.05 * plateau.scale
        assert history["learning_rate"][step] == pytest.approx(rate)
        plateau.observe(float(history["loss"][step].mean()))
    assert plateau.scale < 0.5, "it fell more than once"


# ---------------------------------------------------------------- optimizers


def test_nesterov_is_torchs(trained):
    plain = trained(optimizer="sgd", momentum=0.9)
    ahead = trained(optimizer="sgd", momentum=0.9, nesterov=True)
    one, other = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    config = AccelerateConfig(optimizer="sgd", momentum=0.9, nesterov=True)
    for optimizer, value in (
        (make_optimizer(config, [one]), one),
        (torch.optim.SGD([other], 1e-3, 0.9, nesterov=True), other),
    ):
        for _ in range(3):
            value.grad = torch.ones(1)
            optimizer.step()
    assert torch.equal(one, other)
    assert any(not torch.equal(plain.weights[name], ahead.weights[name]) for name in plain.weights)


def test_sgld_is_sgd_with_noise_of_its_temperature_by_address(trained, tiny, job_of):
    cold, hot = trained(optimizer="sgd", steps=1), trained(optimizer="sgld", beta=100.0, steps=1)
    noise = Noise(job_of(tiny).key, sum(value.numel() for value in hot.weights.values()), torch.device("cpu")).at(0)
    difference = torch.cat([(hot.weights[name] - cold.weights[name]).flatten() for name in hot.weights])
    drawn = difference.double() / math.sqrt(2 * 0.05 / 100.0)
    assert len(drawn) > 500
    assert float(drawn.std()) == pytest.approx(1, abs=0.1)
    assert torch.allclose(drawn.sort().values, noise.sort().values, atol=1e-3)


def test_noise_is_a_function_of_the_step():
    noise = Noise(Key.root(0), 1000, torch.device("cpu"))
    assert torch.equal(noise.at(3), Noise(Key.root(0), 2000, torch.device("cpu")).at(3)[:1000])
    assert abs(float(noise.at(3) @ noise.at(4)) / 1000) < 0.1


# ---------------------------------------------------------------- costly records

FINITE = {"topics": 3, "sequences": 10}


def brute_gradient(job, batch):
    losses = job.loss(job.module, batch)
    found = torch.autograd.grad(losses.sum() / batch.mask.sum(), list(job.module.parameters()))
    return torch.cat([gradient.flatten() for gradient in found]).double()


@pytest.mark.parametrize("limit", [1024, 0])
def test_discrepancy_is_that_of_the_gradients_on_all_data_and_the_subset(tiny, job_of, limit):
    tiny["data"] |= FINITE
    tiny["trainer"] = {
        "kind": "accelerate",
        "steps": 3,
        "batch_size": 8,
        "snapshots": [0],
        "record": ["discrepancy"],
        "subset_topics": 2,
        "subset_sequences": 5,
        "record_sequences": limit,
        "clip": 0.01,
    }
    job = job_of(tiny)
    whole, part = job.data, job.data.subset(2, 5)
    if limit:
        batches = [next(data.all(100)) for data in (whole, part)]
        assert [len(batch) for batch in batches] == [30, 10]
    else:
        batches = [data.batch(0, 8) for data in (whole, part)]
    one, other = (brute_gradient(job, batch) for batch in batches)
    history = fit(job, job.config.trainer)[-1].history
    assert history["discrepancy"].dtype == np.float64
    assert history["discrepancy"][0] == pytest.approx(float((one - other).square().sum()), rel=1e-4)


def test_all_data_count_by_their_topics_weights(tiny, job_of):
    tiny["source"]["weights"] = [0.7, 0.2, 0.1]
    tiny["data"] |= {"sequences": 6}
    tiny["trainer"] = {"kind": "langevin", "steps": 1, "snapshots": [0]}
    job = job_of(tiny)
    batch = next(job.data.all(100))
    losses = job.loss(job.module, batch)
    weight = torch.tensor([0.7, 0.2, 0.1])[batch.topic] / 6
    found = torch.autograd.grad((weight[:, None] * losses).sum() / 8, list(job.module.parameters()))
    norm = torch.cat([gradient.flatten() for gradient in found]).norm()
    history = fit(job, job.config.trainer)[-1].history
    assert history["gradient_norm"][0] == pytest.approx(float(norm), rel=1e-4)
    np.testing.assert_allclose(history["loss"][0], (weight[:, None] * losses).sum(0).detach(), rtol=1e-4)


def test_records_change_nothing_of_the_training(trained):
    plain = trained(data=FINITE)
    recorded = trained(data=FINITE, record=["discrepancy", "sequence-gradient"], subset_topics=1)
    assert all(torch.equal(plain.weights[name], recorded.weights[name]) for name in plain.weights)
    norms = recorded.history["sequence_gradient_norm"]
    assert (norms >= recorded.history["gradient_norm"] * (1 - 1e-5)).all(), "a mean is no longer than the longest"
    one = trained(data=FINITE, record=["sequence-gradient"], batch_size=1)
    np.testing.assert_allclose(one.history["sequence_gradient_norm"], one.history["gradient_norm"], rtol=1e-4)


def test_the_subset_is_what_the_prior_is_trained_on(tiny, job_of):
    tiny["data"] |= FINITE
    tiny["trainer"] |= {"record": ["discrepancy"]}
    tiny["prior"] = {"data": {"topics": 2, "sequences": 4}, "trainer": {"steps": 1, "snapshots": [0]}}
    job = job_of(tiny)
    assert job.prior.count == 8
    with_prior = fit(job, job.config.trainer)[-1].history["discrepancy"]
    del tiny["prior"]
    tiny["trainer"] |= {"subset_topics": 2, "subset_sequences": 4}
    job = job_of(tiny)
    np.testing.assert_array_equal(fit(job, job.config.trainer)[-1].history["discrepancy"], with_prior)


# ---------------------------------------------------------------- refusals


def test_a_discrepancy_needs_a_subset_of_what_is_there(trained):
    with pytest.raises(ConfigError, match=r"trainer.record: discrepancy needs a subset"):
        trained(record=["discrepancy"])
    with pytest.raises(ValueError, match="a subset of 5 topics was asked for, there are 3"):
        trained(data=FINITE, record=["discrepancy"], subset_topics=5)
    with pytest.raises(ConfigError, match=r'trainer.batch_size: "full" needs data that end'):
        trained(kind="langevin", batch_size="full")


def test_problems_of_the_new_options():
    def keys(**fields):
        return [key for key, _ in AccelerateConfig(**fields).problems()]

    assert keys(nesterov=True) == keys(nesterov=True, optimizer="sgd") == ["nesterov"]
    assert keys(optimizer="sgld") == keys(beta=1.0) == ["beta"]
    assert keys(accumulate=3) == ["accumulate"]
    assert keys(record=("discrepancy",), precision="fp16") == ["record"]
    assert keys(optimizer="sgld", beta=1.0, accumulate=4, record=("discrepancy",)) == []
    assert [key for key, _ in LangevinConfig(steps=3, warmup=4, snapshots=(5,)).problems()] == ["warmup", "snapshots"]
