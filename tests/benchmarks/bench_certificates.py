"""What certificates cost: python tests/benchmarks/bench_certificates.py.

A held-out certificate against the evaluation pass it rests on: 10 000 held-out sequences at V = 50, T = 256, a
transformer of 2 layers, width 64. A step of the `langevin` trainer with the path's likelihood ratio against half of the
data, relative to one without. One thread, medians of CPU time.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from iclkit import plan, plugins
from iclkit.api import Categorical
from iclkit.snapshots import TrainingFolder
from iclkit.train import TrainingJob
from iclkit.world import World
from iclkit_bounds import betting, concentration
from iclkit_bounds.smoothing import seq_mix
from iclkit_models.configs import TransformerConfig
from iclkit_models.transformer import Transformer

SIZE, LENGTH, UNITS, BATCH = 50, 256, 10_000, 64


def seconds(work, repeats):
    """Return the median CPU time of a call."""
    found = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return statistics.median(found)


def langevin(folder, **subset):
    """Return a full-batch training of a GRU that yields after every five steps and writes nothing."""
    tables = {
        "source": {"kind": "markov", "vocabulary": 10},
        "data": {"topics": 64, "sequences": 8, "length": 32},
        "model": {"kind": "gru", "width": 32},
        "trainer": {"kind": "langevin", "steps": 10**5, "snapshots": list(range(0, 200, 5)), **subset},
    }
    (training,) = plan.load(None, tables, plugins.load()).trainings
    job = TrainingJob(training, TrainingFolder(folder), None, World())
    job.save = lambda step, state: None
    job.progress = lambda step, steps, loss: None
    return training.config.trainer.build().fit(job)


def path_step():
    """Return the time of a step with the path's ratio, relative to one without; the two take turns."""
    with tempfile.TemporaryDirectory() as folder:
        plain, path = langevin(Path(folder) / "plain"), langevin(Path(folder) / "path", subset_topics=32)
        next(plain), next(path)
        pairs = [(seconds(lambda: next(plain), 1), seconds(lambda: next(path), 1)) for _ in range(25)]
    return statistics.median(long / short for short, long in pairs)


def main():
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    model = Transformer(TransformerConfig(), Categorical(SIZE), LENGTH).eval()
    tokens, sums = torch.randint(SIZE, (BATCH, LENGTH)), rng.normal(-2 * LENGTH, 20, UNITS)

    @torch.no_grad()
    def forward():
        model(tokens).double().log_softmax(-1).gather(-1, tokens[..., None])

    def certificate():
        found = seq_mix(sums, LENGTH, SIZE)
        betting.upper_limit(found.losses, float(found.upper), 0.05)
        return found

    def everything():
        found = certificate()
        for name in ("hoeffding", "chernoff", "seeger", "maurer_pontil", "empirical_bernstein"):
            getattr(concentration, name)(found.losses, float(found.upper), 0.05)
        blocks = rng.normal(2, 0.2, (8, UNITS))
        betting.upper_limit(blocks, 5.0, 0.05 / 8)
        betting.lower_limit(blocks[:1], 0.0, 0.05)

    one = seconds(forward, 7) * UNITS / BATCH
    print(f"evaluation pass {one:.1f} s")
    for name, work in (("certificate", certificate), ("with blocks, gain and other inequalities", everything)):
        took = seconds(work, 5)
        print(f"{name} {took:.2f} s, {took / one:.2%} of it")
    print(f"a step with the path's likelihood ratio: {path_step():.2f} x one without")


if __name__ == "__main__":
    main()
