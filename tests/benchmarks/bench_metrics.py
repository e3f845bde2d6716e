"""What more metrics cost in the one pass: python tests/benchmarks/bench_metrics.py [--repeats N].

The pass over one split's sequences with `loss` alone, and with `divergence`, `calibration` and `icl-score` beside it:
K = 20 topics, 10 snapshots of an untrained transformer of the quickstart's shape. One thread, CPU time, medians of
paired runs; the ratio should stay below 1.5. Exact floors, which all sets would share, are left out. Run it by hand on
a machine that does nothing else.
"""

import argparse
import statistics
import time

import torch

from iclkit import evaluate, plan, plugins
from iclkit.heads import ModulePredictor
from iclkit.measured import Ground
from iclkit.modules import build_module
from iclkit.world import World

SOURCES = {
    "coins": {"kind": "coins", "alpha": 1.0, "beta": 1.0},
    "markov": {"kind": "markov", "vocabulary": 5},
    "mr-name": {"kind": "mr-name"},
}
TOGETHER = ("loss", "divergence", "calibration", "icl-score")


class Repeated:
    """One untrained module as so many snapshots."""

    def __init__(self, config, count):
        self.steps = tuple(range(count))
        self._model = ModulePredictor(build_module(config), config.source.facts, config.data.bos)

    def __getitem__(self, step):
        return self._model


def ground_of(source, metrics, found, topics, steps):
    """Return a cell with these metrics."""
    tables = {
        "source": SOURCES[source],
        "data": {"topics": topics, "length": 64},
        "model": {"kind": "transformer", "layers": 2, "width": 32, "heads": 4},
        "evaluation": {"sequences": 1024},
        "metrics": [{"kind": metric} for metric in metrics],
    }
    config = plan.load(None, tables, found).cells[0].config
    ground = Ground(config, Repeated(config, steps), None)
    ground.source.optimum = lambda *law: None
    return ground


def seconds(ground):
    """Return the CPU time of a pass."""
    start = time.process_time()
    measured = evaluate.measure(ground, {metric.name: "" for metric in ground.config.metrics}, World())
    taken = time.process_time() - start
    assert not measured.failures, measured.failures
    return taken


def main():
    """Print the cost of each set of metrics and its ratio to `loss` alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--topics", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--source", choices=SOURCES, action="append")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = plugins.load()
    for source in options.source or SOURCES:
        topics = min(2, options.topics) if source == "mr-name" else options.topics
        sets = {"loss": TOGETHER[:1]} | {name: ("loss", name) for name in TOGETHER[1:]} | {"all four": TOGETHER}
        grounds = {name: ground_of(source, metrics, found, topics, options.steps) for name, metrics in sets.items()}
        for ground in grounds.values():
            seconds(ground)
        taken = {name: [] for name in grounds}
        for _ in range(options.repeats):
            for name, ground in grounds.items():
                taken[name].append(seconds(ground))
        for name, each in taken.items():
            ratio = statistics.median(one / alone for one, alone in zip(each, taken["loss"], strict=True))
            print(f"{source:8s} {name:12s} {statistics.median(each):7.3f} s  {ratio:5.2f} x loss")


if __name__ == "__main__":
    main()
