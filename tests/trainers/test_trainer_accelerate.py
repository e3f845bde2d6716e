"""The trainer on a job in memory: what it yields, that it repeats and resumes bit for bit, and when it refuses."""

import logging
import random

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import nn
from torch.nn import functional

from iclkit.api import Batch, ConfigError, TrainingDiverged
from iclkit_trainers import loop
from iclkit_trainers.accelerate_trainer import AccelerateTrainer
from iclkit_trainers.accelerator import rows
from iclkit_trainers.configs import AccelerateConfig
from iclkit_trainers.plugin import iclkit_trainers

VOCABULARY, LENGTH = 4, 6


class Bigrams:
    """Sequences in which each token is most often followed by the next one."""

    def __init__(self, masked=()):
        self.masked = list(masked)

    def batch(self, step, size, rows=slice(None)):
        generator = torch.Generator().manual_seed(step)
        tokens = torch.empty(size, LENGTH, dtype=torch.int64)
        tokens[:, 0] = torch.randint(VOCABULARY, (size,), generator=generator)
        for t in range(1, LENGTH):
            jump = 1 + (torch.rand(size, generator=generator) < 0.1).long()
            tokens[:, t] = (tokens[:, t - 1] + jump) % VOCABULARY
        mask = torch.ones(size, LENGTH, dtype=torch.bool)
        mask[:, self.masked] = False
        number = torch.arange(size)
        whole = {"tokens": tokens, "mask": mask, "topic": torch.zeros_like(number), "number": number}
        return Batch(topics=None, **{name: value[rows] for name, value in whole.items()})


class Net(nn.Module):
    """A bigram model with a hidden layer, and dropout."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY + 1, 8)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(8, VOCABULARY)

    def forward(self, inputs):
        return self.out(self.drop(functional.gelu(self.embed(inputs))))


class MemoryJob:
    """A job whose state lives in memory."""

    def __init__(self, dropout=0.0, start=None, masked=(), saved=None):
        torch.manual_seed(0)
        self.module, self.start, self.data, self.length = Net(dropout), start, Bigrams(masked), LENGTH
        self.saved, self.saves, self.reports, self.seeds = saved, [], [], []

    def loss(self, module, batch):
        inputs = functional.pad(batch.tokens[:, :-1], (1, 0), value=VOCABULARY)
        losses = functional.cross_entropy(module(inputs).float().mT, batch.tokens, reduction="none")
        return losses * batch.mask

    def restore(self):
        return self.saved

    def save(self, step, state):
        assert all(value.is_contiguous() and value.device.type == "cpu" for value in state.values())
        self.saved = (step, state)
        self.saves.append(step)

    def seed(self, step):
        self.seeds.append(step)
        torch.manual_seed(1000 + step)

    def progress(self, step, steps, loss):
        self.reports.append((step, steps, loss))


def fit(job=None, stop=None, **fields):
    """Run a training and return its snapshots, at most `stop` of them."""
    fields = {"steps": 60, "batch_size": 8, "learning_rate": 0.02, "snapshots": 5} | fields
    training = AccelerateTrainer(AccelerateConfig(**fields)).fit(job or MemoryJob())
    snapshots = []
    for snapshot in training:
        snapshots.append(snapshot)
        if len(snapshots) == stop:
            break
    training.close()
    return snapshots


def assert_same(one, other):
    assert (one.step, one.tokens_seen) == (other.step, other.tokens_seen)
    assert one.weights.keys() == other.weights.keys()
    for name in one.weights:
        assert torch.equal(one.weights[name], other.weights[name]), name
    assert one.history.keys() == other.history.keys()
    for name in one.history:
        np.testing.assert_array_equal(one.history[name], other.history[name], err_msg=name)


# ---------------------------------------------------------------- what comes out


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_loss_falls(optimizer):
    job = MemoryJob()
    rate = 2.0 if optimizer == "sgd" else 0.02
    last = fit(job, steps=300, optimizer=optimizer, learning_rate=rate, momentum=0.5, schedule="cosine")[-1]
    loss = last.history["loss"]
    entropy = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
    assert loss[0].mean() == pytest.approx(np.log(VOCABULARY), abs=0.15)
    assert loss[-50:, 1:].mean() == pytest.approx(entropy, abs=0.05)
    assert loss[-50:, 0].mean() == pytest.approx(np.log(VOCABULARY), abs=0.05)
    assert [report[:2] for report in job.reports[-2:]] == [(280, 300), (300, 300)]
    assert all(isinstance(report[2], float) for report in job.reports)


def test_snapshots_come_at_the_steps_asked_for_with_plain_weights():
    job = MemoryJob()
    snapshots = fit(job, snapshots=(0, 7, 20, 33))
    assert [snapshot.step for snapshot in snapshots] == [0, 7, 20, 33, 60]
    assert [snapshot.tokens_seen for snapshot in snapshots] == [s * 8 * LENGTH for s in (0, 7, 20, 33, 60)]
    assert job.saves == [0, 7, 20, 33, 60]
    initial = MemoryJob().module.state_dict()
    for snapshot in snapshots:
        assert snapshot.weights.keys() == initial.keys()
        assert all(value.is_contiguous() and not value.requires_grad for value in snapshot.weights.values())
        assert len(snapshot.history["step"]) == snapshot.step
    assert all(torch.equal(snapshots[0].weights[name], initial[name]) for name in initial)
    assert not torch.equal(snapshots[1].weights["out.weight"], initial["out.weight"])
    assert [snapshot.step for snapshot in fit(snapshots=(3,))] == [3, 60]


def test_zero_steps_leave_the_weights():
    start = {name: value + 1 for name, value in Net().state_dict().items()}
    (only,) = fit(MemoryJob(start=start), steps=0)
    assert only.step == only.tokens_seen == 0
    assert all(torch.equal(only.weights[name], start[name]) for name in start)
    assert only.history["loss"].shape == (0, LENGTH)


def test_history_is_what_a_bare_loop_sees():
    job = MemoryJob(masked=[2])
    history = fit(job, clip=0.05, schedule="linear", warmup=10, weight_decay=0.1, resolution=8)[-1].history
    assert {name: (array.dtype.name, array.shape[1:]) for name, array in history.items()} == {
        "step": ("int64", ()),
        "loss": ("float32", (LENGTH,)),
        "learning_rate": ("float64", ()),
        "gradient_norm": ("float32", ()),
        "clipped_gradient_norm": ("float32", ()),
        "parameter_norm": ("float32", ()),
        "update_norm": ("float32", ()),
    }
    assert history["step"].tolist() == [*range(16), *range(16, 32, 2), *range(32, 60, 4)]

    bare = MemoryJob(masked=[2])
    optimizer = torch.optim.AdamW(bare.module.parameters(), 0.02, weight_decay=0.1, fused=True)
    for step in range(60):
        rate = 0.02 * (step + 1) / 10 if step < 10 else 0.02 * (1 - (step - 10) / 50)
        optimizer.param_groups[0]["lr"] = rate
        batch = bare.data.batch(step, 8)
        losses = bare.loss(bare.module, batch)
        optimizer.zero_grad()
        (losses.sum() / (8 * (LENGTH - 1))).backward()
        norm = torch.nn.utils.clip_grad_norm_(bare.module.parameters(), 0.05)
        before = torch.cat([p.detach().flatten() for p in bare.module.parameters()])
        optimizer.step()
        after = torch.cat([p.detach().flatten() for p in bare.module.parameters()])
        if step in history["step"]:
            row = history["step"].tolist().index(step)
            expected = losses.detach().mean(0).numpy()
            expected[2] = np.nan
            np.testing.assert_allclose(history["loss"][row], expected, rtol=1e-6)
            np.testing.assert_allclose(history["gradient_norm"][row], norm, rtol=1e-5)
            np.testing.assert_allclose(history["clipped_gradient_norm"][row], min(norm, 0.05), rtol=1e-4)
            np.testing.assert_allclose(history["parameter_norm"][row], before.norm(), rtol=1e-5)
            np.testing.assert_allclose(history["update_norm"][row], (after - before).norm(), rtol=1e-4)
            assert history["learning_rate"][row] == pytest.approx(rate)
    for name, value in bare.module.state_dict().items():
        torch.testing.assert_close(job.module.state_dict()[name], value)


# ---------------------------------------------------------------- bits


def test_a_training_repeats_bit_for_bit():
    for one, other in zip(fit(), fit(), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"optimizer": "adam", "schedule": "cosine", "warmup": 7, "clip": 0.5, "resolution": 4},
        {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1},
        {"optimizer": "sgd", "precision": "bf16"},
        {"precision": "fp16", "clip": 0.5, "resolution": 4},
        {"dropout": 0.3, "weight_decay": 0.01},
    ],
    ids=["adamw", "adam-clip", "sgd", "bf16", "fp16", "dropout"],
)
def test_a_training_cut_off_at_any_step_continues_bit_for_bit(fields, monkeypatch):
    """Each of the random cuts kills one training at an arbitrary step, between saves at other arbitrary steps."""
    dropout = {"dropout": fields.get("dropout", 0.0)}
    fields = {name: value for name, value in fields.items() if name != "dropout"}
    whole = {snapshot.step: snapshot for snapshot in fit(MemoryJob(**dropout), **fields)}
    draw = random.Random(0)
    job = MemoryJob(**dropout)
    killed, seen = 0, {}
    while 60 not in seen:
        last = job.saved[0] if job.saved else 0
        job = MemoryJob(saved=job.saved, **dropout)
        kill, save = draw.randint(last, 75), draw.randint(last, 60)
        batch, clock = job.data.batch, iter(range(10**6))

        def dying(step, size, rows, batch=batch, kill=kill):
            if step == kill:
                raise KeyboardInterrupt
            return batch(step, size, rows)

        job.data.batch = dying
        # time passes once when the training begins, then once per step; it is late at one step
        ticks = {"monotonic": lambda clock=clock, save=save, last=last: 100.0 * (next(clock) > save - last)}
        monkeypatch.setattr(loop, "time", type("Clock", (), ticks))
        training = AccelerateTrainer(
            AccelerateConfig(**{"steps": 60, "batch_size": 8, "learning_rate": 0.02, "snapshots": 5} | fields)
        ).fit(job)
        try:
            for snapshot in training:
                seen[snapshot.step] = snapshot
        except KeyboardInterrupt:
            killed += 1
        torch.manual_seed(draw.randint(0, 99))  # whatever else draws must not matter
    assert killed >= 2
    assert seen.keys() == whole.keys()
    for step in whole:
        assert_same(seen[step], whole[step])


def test_what_was_saved_is_not_yielded_again():
    job = MemoryJob()
    first = fit(job, stop=3)
    again = fit(MemoryJob(saved=job.saved))
    assert job.saved[0] == first[1].step, "the third was yielded, not yet saved"
    assert [snapshot.step for snapshot in again] == [s.step for s in fit()][2:]
    finished = MemoryJob()
    fit(finished)
    assert fit(MemoryJob(saved=finished.saved)) == []


def test_torch_is_seeded_where_a_module_draws_and_only_there():
    with_dropout, without = MemoryJob(dropout=0.1), MemoryJob()
    fit(with_dropout)
    fit(without)
    assert with_dropout.seeds == list(range(60))
    assert without.seeds == []


# ---------------------------------------------------------------- refusals and traces


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_divergence_says_where_and_keeps_the_snapshots_before(bad):
    job = MemoryJob()
    plain = job.loss
    calls = iter(range(100))
    job.loss = lambda module, batch: plain(module, batch) * (bad if next(calls) == 33 else 1.0)
    training = AccelerateTrainer(AccelerateConfig(steps=60, snapshots=(0, 30, 36))).fit(job)
    assert [next(training).step, next(training).step] == [0, 30]
    with pytest.raises(TrainingDiverged, match=f"loss became {bad} at step 33; last good snapshot at step 30"):
        next(training)
    assert job.saved[0] == 30


def test_bad_weights_are_no_snapshot():
    job = MemoryJob()
    plain = job.loss

    def steep(module, batch):
        losses = plain(module, batch)
        losses.register_hook(lambda gradient: gradient * torch.nan)
        return losses

    job.loss = steep
    with pytest.raises(
        TrainingDiverged, match="weights became NaN or infinite at step 1; last good snapshot at step 0"
    ):
        fit(job, steps=1)


def test_accelerate_is_left_as_it_was_found_between_precisions(monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    states = (AcceleratorState, PartialState, GradientState)
    before = [dict(state._shared_state) for state in states]
    expected = fit()[-1]
    job = MemoryJob()
    rounded = fit(job, precision="bf16")[-1]
    assert_same(fit()[-1], expected)
    assert not torch.equal(rounded.weights["out.weight"], expected.weights["out.weight"])
    assert all(value.dtype == torch.float32 for value in rounded.weights.values())
    assert job.module.forward.__func__ is Net.forward, "autocast is taken off again"
    fit(stop=1)
    assert [dict(state._shared_state) for state in states] == before


def test_slow_bf16_is_told(monkeypatch, caplog):
    monkeypatch.setattr("iclkit_trainers.accelerator._native_bf16", lambda: False)
    with caplog.at_level(logging.WARNING):
        fit(steps=1, precision="bf16")
    assert "no bf16 instructions" in caplog.text


def test_rows_split_the_batch_or_refuse():
    assert [rows(8, rank, 4) for rank in range(4)] == [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8)]
    with pytest.raises(ConfigError, match=r"batch_size: 8 cannot be split evenly over 3 .* multiple of 3"):
        rows(8, 0, 3)


def test_spec_builds_the_trainer():
    spec, _ = iclkit_trainers()
    assert spec.default
    assert isinstance(spec.load()(spec.config()), AccelerateTrainer)
