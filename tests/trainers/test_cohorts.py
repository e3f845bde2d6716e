"""Cohorts: a member has the bits it has alone, whoever shares its cohort, diverges in it, or is killed with it."""

import copy
import random
import sys

import numpy as np
import pytest
import torch
from attrs import evolve

from iclkit import train
from iclkit.snapshots import TrainingFolder
from iclkit.train import TrainingCohort, TrainingJob
from iclkit.world import World
from iclkit_trainers import cohort_loop
from iclkit_trainers.configs import AccelerateConfig

STEPS, SNAPSHOTS = 8, [0, 3, 8]
OPTIMIZERS = (
    {"weight_decay": 0.1, "schedule": "cosine", "warmup": 3},
    {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "clip": 0.1, "learning_rate": 0.1},
    {"optimizer": "adam", "beta2": 0.9},
    {"clip": 0.5, "learning_rate": 0.01},
    {"optimizer": "sgd"},
)
REALS = {"kind": "lds", "dimension": 2}


@pytest.fixture
def trainings(planned, tiny):
    """Plan members that differ in all they may differ in; no size is a multiple of anything."""

    def make(members, tables=None, **trainer):
        tables = copy.deepcopy(tiny | (tables or {}))
        tables["data"] = {"length": 7}
        tables["trainer"] = {"steps": STEPS, "batch_size": 3, "snapshots": SNAPSHOTS, "stack": True} | trainer
        patches = {
            f"member-{i}": {
                "seed": i // 2,
                "data": {"topics": 1 + i % 3, "sequences": (2, 5, "fresh")[i % 3]},
                "trainer": OPTIMIZERS[i % len(OPTIMIZERS)] | trainer,
            }
            for i in range(members)
        }
        return planned(tables | {"sweep": {"member": {"choices": patches}}}).trainings

    return make


@pytest.fixture
def trained(tmp_path):
    """Run trainings together, in a folder by name; return the folders of the trainings."""

    def go(members, name="together"):
        outcomes = train.run_together(members, tmp_path / name, lambda *a, **k: None, World())
        assert list(outcomes) == [member.id for member in members]
        return [TrainingFolder(tmp_path / name / member.id) for member in members]

    return go


def assert_same(one, other, steps=SNAPSHOTS):
    """Equal bit for bit: all snapshots and the history."""
    assert one.steps() == other.steps() == list(steps)
    for step in steps:
        mine, its = one.weights(step), other.weights(step)
        assert mine.keys() == its.keys()
        for name in its:
            assert torch.equal(mine[name], its[name]), (step, name)
    assert_histories(one.history(), other.history(), np.testing.assert_array_equal)


def assert_histories(one, other, same):
    assert one.keys() == other.keys()
    for name in other:
        same(one[name], other[name], err_msg=name)


def close(one, other, err_msg):
    np.testing.assert_allclose(one, other, rtol=2e-3, atol=1e-5, err_msg=err_msg)


# ---------------------------------------------------------------- bits


def test_32_transformers_have_the_bits_they_have_alone(trainings, trained):
    members = trainings(32)
    whole = trained(members)
    assert all(folder.done for folder in whole)
    for folder, member in zip(whole, members, strict=True):
        assert_same(folder, *trained([member], "alone"))


MODELS = {
    "transformer": {"layers": 2, "width": 6, "heads": 3},
    "rope": {"layers": 1, "width": 12, "heads": 2, "kv_heads": 1, "positions": "rope", "norm": "rms", "tied": True}
    | {"mlp_kind": "gated", "biases": False},
    "alibi": {
        "layers": 2,
        "width": 6,
        "heads": 2,
        "positions": "alibi",
        "norm_place": "post",
        "attention_only": True,
        "previous": 1,
    },
    "gpt2": {"kind": "gpt2", "layers": 1, "width": 6, "heads": 2, "dropout": 0.0},
    "state-space": {"kind": "state-space", "layers": 1, "width": 5},
    "lstm": {"kind": "lstm", "layers": 2, "width": 5, "norm": "layer"},
    "gru": {"kind": "gru", "width": 5, "embedding": "one-hot"},
    "rnn": {"kind": "rnn", "width": 5},
    "mlp": {"kind": "mlp", "window": 3, "width": 5, "layers": 1},
}


@pytest.mark.parametrize(
    ("model", "reals"), [(name, False) for name in MODELS] + [("transformer", True), ("gru", True)]
)
def test_any_cohort_gives_the_same_bits_and_nearly_those_of_one_by_one(trainings, trained, tmp_path, model, reals):
    model = {"kind": "transformer"} | MODELS[model]
    tables = {"source": REALS, "model": model | {"scale": "learned"}} if reals else {"model": model}
    members = trainings(4, tables, learning_rate=1e-3)
    whole = trained(members)
    some = trained([members[3], members[1]], "some")
    assert_same(some[0], whole[3])
    assert_same(some[1], whole[1])
    for folder, alone in zip(whole, trainings(4, tables, learning_rate=1e-3, stack=False), strict=True):
        assert train.run(alone, tmp_path, lambda *a, **k: None, World())["status"] == "done"
        plain = TrainingFolder(tmp_path / alone.id)
        assert_histories(folder.history(), plain.history(), close)
        mine, its = folder.weights(STEPS), plain.weights(STEPS)
        assert mine.keys() == its.keys()
        for name in its:
            torch.testing.assert_close(mine[name], its[name], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("shape", [{"batch_size": 1}, {"batch_size": 48}])
def test_bits_do_not_depend_on_how_many_go_through_the_model_at_once(trainings, trained, monkeypatch, shape):
    members = trainings(5, **shape)
    whole = trained(members)
    monkeypatch.setattr(cohort_loop, "_CPU_TOKENS", 2 * 7 * shape["batch_size"])
    for one, other in zip(trained(members, "pieces"), whole, strict=True):
        assert_same(one, other)


def test_members_with_large_batches_run_one_after_the_other(trainings, trained, monkeypatch):
    monkeypatch.setattr(cohort_loop, "_CPU_TOKENS", 2 * 7)
    members = trainings(3, learning_rate=1e-3)
    whole = trained(members)
    assert_same(*trained(members[1:2], "alone"), whole[1])
    monkeypatch.undo()
    for one, other in zip(trained(members, "stacked"), whole, strict=True):
        assert_histories(one.history(), other.history(), close)


# ---------------------------------------------------------------- divergence


def test_a_member_that_diverges_leaves_the_bits_of_the_others(trainings, trained):
    members = trainings(5, optimizer="sgd", momentum=0.0, nesterov=False, steps=30)
    wild = trainings(5, optimizer="sgd", momentum=0.0, nesterov=False, steps=30, learning_rate=1e30)[2]
    whole, mixed = trained(members), trained([*members[:2], wild, *members[3:]], "mixed")
    for i in (0, 1, 3, 4):
        assert_same(mixed[i], whole[i], [0, 3, 8, 30])
        assert mixed[i].outcome["status"] == "done"
    outcome = mixed[2].outcome
    assert outcome["status"] == "failed"
    assert "TrainingDiverged" in outcome["traceback"]
    (alone,) = trained([wild], "alone")
    assert outcome["error"] == alone.outcome["error"]
    assert " at step " in outcome["error"]
    assert mixed[2].steps() == alone.steps()


# ---------------------------------------------------------------- kills


class Killed(BaseException):
    """The moment in which a process is gone."""


def test_killed_anywhere_and_continued_by_any_who_are_left_is_bit_identical(trainings, trained, tmp_path, monkeypatch):
    draw, fuse, clock = random.Random(1), {"left": 10**6}, {"now": 0.0}
    members = trainings(4)
    whole = trained(members)

    def monotonic():
        clock["now"] += 100.0 * (draw.random() < 0.2)  # time for a save, at one step in five
        return clock["now"]

    def burning(does):
        def burn(*args):
            fuse["left"] -= 1
            if fuse["left"] < 0:
                raise Killed
            return does(*args)

        return burn

    monkeypatch.setattr(cohort_loop, "time", type("Clock", (), {"monotonic": monotonic}))
    monkeypatch.setattr(TrainingCohort, "loss", burning(TrainingCohort.loss))
    monkeypatch.setattr(TrainingJob, "save", burning(TrainingJob.save))  # so that members are saved at different steps
    kills, apart = 0, 0
    for attempt in range(4):
        folders = [TrainingFolder(tmp_path / f"killed-{attempt}" / member.id) for member in members]
        while not all(folder.done for folder in folders):
            going = draw.sample(members, draw.choice([2, 4, 4]))
            fuse["left"] = draw.randint(1, 12)
            try:
                trained(going, f"killed-{attempt}")
            except Killed:
                kills += 1
            apart += len({state[0] for folder in folders if (state := folder.state())}) > 1
        for one, other in zip(folders, whole, strict=True):
            assert_same(one, other)
    assert kills >= 10
    assert apart >= 10  # members had to wait for others


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"optimizer": "sgld", "beta": 1e3}, "optimizer"),
        ({"schedule": "plateau"}, "schedule"),
        ({"accumulate": 2}, "accumulate"),
        ({"max_seconds": 1.0}, "max_seconds"),
        ({"precision": "bf16"}, "precision"),
        ({"record": ("sequence-gradient",)}, "record"),
    ],
)
def test_what_only_trainings_alone_can_do_is_refused_by_check(fields, key):
    assert not list(AccelerateConfig(**fields).problems())
    ((where, said),) = AccelerateConfig(stack=True, **fields).problems()
    assert where == key
    assert "with stack = true leave it out" in said


def refusal(training, tmp_path):
    outcome = train.run_together([training], tmp_path, lambda *a, **k: None, World())[training.id]
    assert outcome["status"] == "failed"
    return outcome["error"]


def test_a_model_that_draws_is_refused(trainings, tmp_path):
    (training,) = trainings(1, {"model": {"kind": "transformer", "width": 8, "dropout": 0.1}})
    assert refusal(training, tmp_path) == (
        "trainer.stack: the model drops activations at random, and a cohort cannot draw for each member by itself; "
        "allowed here: false"
    )


def test_several_processes_are_refused(trainings, tmp_path, monkeypatch):
    class Two:
        num_processes = 2

    monkeypatch.setattr(
        cohort_loop.CohortLoop,
        "__init__",
        lambda self, a, b, c, made=cohort_loop.CohortLoop.__init__: made(self, a, b, Two()),
    )
    (training,) = trainings(1)
    assert refusal(training, tmp_path) == "trainer.stack: a cohort runs in one process, not in 2; allowed here: false"


MODULES = """
from torch import nn

from iclkit_models.stacked_layers import stack


class Tied(nn.Module):
    def __init__(self, config, space, context):
        super().__init__()
        self.table, self.read_out = nn.Embedding(space.size + 1, 16), nn.Linear(16, space.size + 1, bias=False)
        self.read_out.weight = self.table.weight
        self.outcomes = space.size

    def forward(self, inputs):
        return self.read_out(self.table(inputs).tanh())[..., : self.outcomes]


class Convolved(nn.Module):
    def __init__(self, config, space, context):
        super().__init__()
        self.layer = nn.Conv1d(1, 1, 1)


def stacked_convolved(config, space, context, members):
    return stack(Convolved(config, space, context), members)


class Unmappable(nn.Module):
    def __init__(self, config, space, context):
        super().__init__()
        self.table = nn.Embedding(space.size + 1, space.size)

    def forward(self, inputs):
        logits = self.table(inputs)
        return logits * 2 if logits.mean().item() > 0 else logits  # depends on values: no rule of vmap
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Make the modules above importable, as `my_modules`."""
    (tmp_path / "my_modules.py").write_text(MODULES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_modules", raising=False)


def built_by(training, build, stacked=None):
    """Return the training with another model, which has no stacked one unless told."""
    config, model = training.config, training.config.model
    spec = evolve(model.spec, build=build, stacked=stacked)
    return evolve(training, config=evolve(config, model=evolve(model, spec=spec)))


def test_a_model_that_cannot_be_mapped_is_refused(trainings, tmp_path, modules):
    (training,) = trainings(1, {"model": {"kind": "mlp"}})
    said = refusal(built_by(training, "my_modules:Unmappable"), tmp_path)
    assert said.startswith("trainer.stack: mlp cannot be mapped over members (")
    assert said.endswith("; allowed for this model: false")


def test_a_model_with_a_layer_that_cannot_be_stacked_is_refused(trainings, tmp_path, modules):
    (training,) = trainings(1, {"model": {"kind": "mlp"}})
    said = refusal(built_by(training, "my_modules:Convolved", "my_modules:stacked_convolved"), tmp_path)
    assert said == (
        "trainer.stack: mlp cannot be mapped over members (Conv1d cannot be stacked); allowed for this model: false"
    )


def test_a_model_without_a_stacked_one_is_mapped(trainings, trained):
    members = trainings(3, {"model": {"kind": "mlp", "width": 16, "window": 2}}, learning_rate=1e-3)
    own = [built_by(member, "iclkit_models.window_mlp:WindowMLP") for member in members]
    mapped = trained(own, "mapped")
    assert_same(*trained(own[1:2], "alone"), mapped[1])
    for one, other in zip(mapped, trained(members), strict=True):
        assert_histories(one.history(), other.history(), close)


def test_weights_that_a_mapped_model_uses_twice_stay_one(trainings, trained, tmp_path, modules):
    tables, tied = {"model": {"kind": "mlp"}}, "my_modules:Tied"
    members = [built_by(member, tied) for member in trainings(3, tables, learning_rate=1e-2)]
    plain = [built_by(member, tied) for member in trainings(3, tables, learning_rate=1e-2, stack=False)]
    for folder, alone in zip(trained(members), plain, strict=True):
        assert train.run(alone, tmp_path, lambda *a, **k: None, World())["status"] == "done"
        assert_histories(folder.history(), TrainingFolder(tmp_path / alone.id).history(), close)
        weights = folder.weights(STEPS)
        assert torch.equal(weights["table.weight"], weights["read_out.weight"])
        assert not torch.equal(weights["table.weight"], folder.weights(0)["table.weight"])


# ---------------------------------------------------------------- the plan


def sizes(plan):
    return sorted(len(cohort) for cohort in plan.cohorts)


def test_cohorts_are_cut_evenly_and_for_the_workers(planned, tiny):
    tiny["trainer"]["stack"] = True
    tiny["sweep"] = {"seed": list(range(10)), "trainer.learning_rate": [1e-3, 1e-2, 1e-1, 1.0]}
    assert sizes(planned(tiny)) == [20, 20]
    tiny["execution"] = {"kind": "processes", "workers": 3}
    assert sizes(planned(tiny)) == [13, 13, 14]
    tiny["execution"]["workers"] = 16
    assert sizes(planned(tiny)) == [8] * 5
    tiny["trainer"]["stack"] = False
    assert sizes(planned(tiny)) == [1] * 40


def test_members_have_one_shape_and_priors_of_one_shape(planned, tiny):
    tiny["trainer"]["stack"] = True
    tiny["sweep"] = {"seed": [0, 1, 2], "model.width": [8, 16]}
    assert sizes(planned(tiny)) == [3, 3]
    tiny["sweep"] = {"seed": [0, 1, 2], "trainer.steps": [6, 7]}
    assert sizes(planned(tiny)) == [3, 3]
    tiny["sweep"] = {"seed": [0, 1, 2]}
    tiny["prior"] = {"data": {"topics": 2}}
    made = planned(tiny)
    assert sizes(made) == [3, 3]
    assert all(len({training.prior is None for training in cohort}) == 1 for cohort in made.cohorts)
