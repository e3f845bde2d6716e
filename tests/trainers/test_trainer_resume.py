"""A training killed at random steps and continued ends with the bits of the uninterrupted one: 20 kills each."""

import random

import numpy as np
import pytest
import torch

from iclkit_trainers import loop

STEPS, KILLS = 40, 20
FINITE = {"topics": 3, "sequences": 10}
CASES = {
    "adamw": {"schedule": "cosine", "warmup": 7, "clip": 0.3, "weight_decay": 0.01},
    "plateau": {"schedule": "plateau", "plateau_steps": 5, "warmup": 3, "plateau_tolerance": 0.01, "resolution": 4},
    "sgld": {"optimizer": "sgld", "beta": 1e3, "learning_rate": 0.1},
    "records": {"record": ["discrepancy"], "subset_topics": 1, "record_sequences": 8, "accumulate": 2},
    "langevin": {"kind": "langevin", "batch_size": "full", "subset_topics": 1, "beta": 1e4, "learning_rate": 0.1},
    "langevin-batches": {"kind": "langevin", "subset_sequences": 3, "beta": 1e4, "resolution": 4},
}


class Killed(BaseException):
    """The moment in which a process is gone."""


def go_on(job, after):
    """Train and save as `iclkit.train` does until the loss was asked for so many times; tell whether it ended."""
    plain, left = job.loss, iter(range(after, 0, -1))

    def loss(module, batch):
        if next(left, None) is None:
            raise Killed
        return plain(module, batch)

    job.loss = loss
    training = job.config.trainer.build().fit(job)
    try:
        for snapshot in training:
            job._folder.save_snapshot(snapshot.step, snapshot.tokens_seen, snapshot.weights, snapshot.history)
    except Killed:
        return False
    finally:
        training.close()
    return True


@pytest.mark.parametrize("case", CASES)
def test_killed_at_random_steps_and_continued_is_bit_identical(tiny, job_of, case, monkeypatch):
    draw = random.Random(case)
    tiny["data"] |= FINITE
    tiny["trainer"] = {"kind": "accelerate", "steps": STEPS, "batch_size": 8, "snapshots": [0, 3, 17]} | CASES[case]
    whole = job_of(tiny)
    assert go_on(whole, 10**6)

    clock = {"now": 0.0}

    def monotonic():
        clock["now"] += 100.0 * (draw.random() < 0.2)  # time for a save, at one step in five
        return clock["now"]

    monkeypatch.setattr(loop, "time", type("Clock", (), {"monotonic": monotonic}))
    kills = 0
    while kills < KILLS:
        job = job_of(tiny)
        while not go_on(job, draw.randint(1, 60)):
            kills += 1
            torch.manual_seed(draw.randint(0, 99))  # whatever else draws must not matter
            job = job_of(tiny, again=True)
        assert job._folder.steps() == whole._folder.steps() == [0, 3, 17, STEPS]
        for step in job._folder.steps():
            one, other = job._folder.weights(step), whole._folder.weights(step)
            assert all(torch.equal(one[name], other[name]) for name in other), step
        one, other = job._folder.history(), whole._folder.history()
        assert one.keys() == other.keys()
        for name in other:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
