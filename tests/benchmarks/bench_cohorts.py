"""Cohorts against the same trainings one by one: python tests/benchmarks/bench_cohorts.py.

Both sides are the trainer as it is, on real jobs: 2 layers, width 64, T 64, 50 tokens, data included, nothing
written. They go in turns of a few steps on one thread; the ratio is that of replica-steps per second of CPU time,
the median over paired turns. Run it by hand on a machine that does nothing else.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from iclkit import plan, plugins
from iclkit.snapshots import TrainingFolder
from iclkit.train import TrainingCohort, TrainingJob
from iclkit.world import World


def trainings(batch, members, turn, stack, settings):
    """Return trainings that differ in their seed alone; they take a snapshot after every turn."""
    snapshots = list(range(0, 100 * turn, turn))
    tables = {
        "source": {"kind": "random-hmm", "vocabulary": 50},
        "data": {"topics": 16, "sequences": 256, "length": 64},
        "model": {"kind": "transformer"} | settings,
        "trainer": {"steps": 10**5, "batch_size": batch, "snapshots": snapshots, "stack": stack},
        "sweep": {"seed": list(range(members))},
    }
    return plan.load(None, tables, plugins.load()).trainings


def job_of(training, folder):
    """Return the job of a training, which writes nothing."""
    job = TrainingJob(training, TrainingFolder(folder), None, World())
    job.save = lambda step, state: None
    job.progress = lambda step, steps, loss: None
    return job


def one_by_one(batch, turn, folder, settings):
    """Yield the CPU seconds of a replica-step, after every turn."""
    (training,) = trainings(batch, 1, turn, False, settings)
    made = training.config.trainer.build().fit(job_of(training, folder))
    next(made)
    while True:
        begin = time.process_time()
        next(made)
        yield (time.process_time() - begin) / turn


def together(batch, members, turn, folder, settings):
    """Yield the same of a cohort."""
    cohort = TrainingCohort([job_of(one, folder) for one in trainings(batch, members, turn, True, settings)])
    made = cohort.trainers[0].fit_together(cohort)
    for _ in range(members):
        next(made)
    while True:
        begin = time.process_time()
        for _ in range(members):
            next(made)
        yield (time.process_time() - begin) / turn / members


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--members", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--model", default="transformer")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("batch members   one by one   together   replica-steps / s; ratio, median of paired turns")
    with tempfile.TemporaryDirectory() as folder:
        for batch in options.batches:
            turn = max(2, 32 // batch)
            for members in options.members:
                settings = {"kind": options.model}
                sides = (
                    one_by_one(batch, turn, Path(folder), settings),
                    together(batch, members, turn, Path(folder), settings),
                )
                for side in sides:
                    next(side)
                pairs = [tuple(next(side) for side in sides) for _ in range(options.rounds)]
                alone, cohort = (1 / statistics.median(side) for side in zip(*pairs, strict=True))
                ratio = statistics.median(a / b for a, b in pairs)
                print(f"{batch:5} {members:7} {alone:12.1f} {cohort:10.1f} {ratio:7.2f}", flush=True)


if __name__ == "__main__":
    main()
