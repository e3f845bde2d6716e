"""Sweeps that run as cohorts, end to end: one task, one program, the cube of trainings that ran one by one."""

import numpy as np
import pytest

import iclkit
from iclkit import engine, train
from iclkit.cube import open_cube


@pytest.fixture
def sweep(tiny, tmp_path):
    def tables(name, **trainer):
        tiny["trainer"] |= trainer
        more = {"seed": [0, 1, 2], "trainer.learning_rate": [1e-3, 1e-2]}
        return tiny | {"sweep": more, "store": {"path": str(tmp_path / name)}}

    return tables


def test_a_stacked_sweep_is_one_task_with_the_cube_of_one_by_one(sweep, monkeypatch):
    cohorts, together = [], train.run_together

    def run_together(trainings, *rest):
        cohorts.append(len(trainings))
        return together(trainings, *rest)

    monkeypatch.setattr(train, "run_together", run_together)
    stacked = open_cube(iclkit.run(sweep("stacked", stack=True)).cube).load()
    assert cohorts == [6]
    plain = open_cube(iclkit.run(sweep("plain", stack=False)).cube).load()
    assert cohorts == [6]
    assert dict(stacked.sizes) == dict(plain.sizes)
    np.testing.assert_array_equal(stacked.status, plain.status)
    np.testing.assert_allclose(stacked.loss, plain.loss, atol=1e-4)
    np.testing.assert_array_equal(stacked.floor, plain.floor)
    assert len(np.unique(stacked.loss.isel(step=-1, split=0, position=-1))) == 6
    assert (stacked.wall_time > 0).all()


def test_a_member_that_diverges_fails_alone(sweep, planned, found):
    tables = sweep("wild", stack=True, optimizer="sgd")
    tables["sweep"]["trainer.learning_rate"] = [1e-2, 1e30]
    result = engine.run(planned(tables), found)
    status = open_cube(result.cube).load().status
    assert set(np.unique(status.sel(learning_rate=1e-2))) == {1}
    assert set(np.unique(status.sel(learning_rate=1e30))) == {2}
    assert len(result.failures) == 3
    assert all("last good snapshot" in str(failure) for failure in result.failures.values())


def test_what_is_left_of_a_cohort_gives_the_same_cube(sweep, planned, found, monkeypatch):
    tables = sweep("run", stack=True)
    whole = open_cube(engine.run(planned(tables, "whole"), found).cube).load()
    made = planned(tables, "parts")
    tasks = engine.missing_tasks(made, found)
    assert len(tasks) == 1
    few = {training.id for training in made.trainings[1:3]}
    engine.work(
        engine.Task(
            folder=tasks[0].folder,
            base=tasks[0].base,
            plugin_files=(),
            trainings=tuple(one for one in tasks[0].trainings if one[0] in few),
            passes=(),
            after=frozenset(),
        )
    )
    rest = open_cube(engine.run(made, found).cube).load()
    for name in ("loss", "excess"):
        np.testing.assert_array_equal(rest[name], whole[name])


def test_priors_run_together_and_start_members_that_do(sweep, planned, found):
    tables = sweep("prior", stack=True) | {"prior": {"data": {"topics": 2}, "trainer": {"steps": 4}}}
    result = engine.run(planned(tables), found)
    result.check()
    status = open_cube(result.cube).load().status
    assert set(np.unique(status)) == {1}
