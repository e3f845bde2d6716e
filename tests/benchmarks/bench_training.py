"""The trainer's step against a bare PyTorch loop with the same model: python tests/benchmarks/bench_training.py.

Both sides train the same transformer on the same batches, in turns of a few steps, on one thread; the ratio is that
of the medians of CPU time per step. With --data, the share of a step that making its
batch takes. Run it by hand on a machine that does nothing else.
"""

import argparse
import statistics
import time

import torch
from torch.nn import functional

from iclkit import plan, plugins
from iclkit.api import Batch, Categorical
from iclkit.data import TrainingSequences
from iclkit_models.configs import TransformerConfig
from iclkit_models.transformer import Transformer
from iclkit_trainers.accelerate_trainer import AccelerateTrainer
from iclkit_trainers.configs import AccelerateConfig


class Job:
    """A job over one batch that is always the same; how the trainer's time is read between its steps."""

    start = None

    def __init__(self, width, vocabulary, length, batch):
        torch.manual_seed(0)
        self.space = Categorical(vocabulary)
        self.module = Transformer(TransformerConfig(width=width), self.space, length)
        self.length, self.data = length, self
        tokens = torch.randint(vocabulary, (batch, length))
        self.fixed = Batch(
            tokens=tokens,
            mask=torch.ones_like(tokens, dtype=torch.bool),
            topics=None,
            topic=torch.zeros(batch, dtype=torch.int64),
            number=torch.arange(batch),
        )

    def batch(self, step, size, rows=slice(None)):
        return self.fixed

    def loss(self, module, batch):
        inputs = functional.pad(batch.tokens[:, :-1], (1, 0), value=self.space.size)
        logits = module(inputs)
        losses = functional.cross_entropy(logits.flatten(0, 1), batch.tokens.flatten(), reduction="none")
        return losses.view(batch.tokens.shape) * batch.mask

    def restore(self):
        return None

    def seed(self, step):
        pass

    def save(self, step, state):
        pass

    def progress(self, step, steps, loss):
        pass


def bare(job):
    """Yield after every step of the plainest loop."""
    optimizer = torch.optim.AdamW(job.module.parameters(), 1e-3, weight_decay=0.0, fused=True)
    tokens = job.fixed.tokens
    inputs = functional.pad(tokens[:, :-1], (1, 0), value=job.space.size)
    while True:
        logits = job.module(inputs)
        loss = functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield


def trained(job, turn, batch, **settings):
    """Yield after every turn of the trainer: a snapshot every `turn` steps serves as the clock."""
    config = AccelerateConfig(steps=10**6, batch_size=batch, snapshots=tuple(range(0, 10**5, turn)), **settings)
    yield from AccelerateTrainer(config).fit(job)


HMM = {"kind": "random-hmm"}
REGIMES = {
    "fresh topics, fresh sequences": (HMM, {}),
    "K = 16, fresh sequences": (HMM, {"topics": 16}),
    "K = 16, N = 1000": (HMM, {"topics": 16, "sequences": 1000}),
    "fresh topics, N = 10": (HMM, {"sequences": 10}),
    "K = 1, N = 4": (HMM, {"topics": 1, "sequences": 4}),
    "coins, fresh": ({"kind": "coins", "alpha": 1.0, "beta": 1.0}, {}),
}


def data_times(options):
    """Print the time that making a batch takes in each data regime, mean of 200, beside the model's step."""
    for name, (source, data) in REGIMES.items():
        tables = {"source": source, "data": {"length": options.length} | data, "model": {"kind": "transformer"}}
        config = plan.load(None, tables, plugins.load()).cells[0].config
        training = TrainingSequences(config, config.source.build())
        training.batch(0, options.batch)
        begin = time.process_time()
        for step in range(1, 201):
            training.batch(step, options.batch)
        spent = (time.process_time() - begin) / 200
        steps = bare(Job(64, config.source.facts.space.size, options.length, options.batch))
        next(steps), next(steps)
        begin = time.process_time()
        for _ in range(20):
            next(steps)
        step_time = (time.process_time() - begin) / 20
        share = spent / (spent + step_time)
        print(f"{name}: {1000 * spent:.2f} ms, step {1000 * step_time:.1f} ms, {100 * share:.1f} %")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 32])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--turn", type=int, default=20, help="steps per turn; a turn ends with a snapshot")
    parser.add_argument("--clip", type=float)
    parser.add_argument("--resolution", type=int, default=256, help="1 for almost no records")
    parser.add_argument("--data", action="store_true", help="measure the data regimes instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.data:
        data_times(options)
        return
    for width in options.widths:
        shape = (width, options.vocabulary, options.length, options.batch)
        plain, ours = (
            bare(Job(*shape)),
            trained(Job(*shape), options.turn, options.batch, clip=options.clip, resolution=options.resolution),
        )
        next(plain), next(ours), next(plain), next(ours)
        times = {"bare": [], "iclkit": []}
        for _ in range(options.rounds):
            begin = time.process_time()
            for _ in range(options.turn):
                next(plain)
            middle = time.process_time()
            next(ours)
            end = time.process_time()
            times["bare"].append((middle - begin) / options.turn)
            times["iclkit"].append((end - middle) / options.turn)
        ratios = [o / b for o, b in zip(times["iclkit"], times["bare"], strict=True)]
        medians = {name: statistics.median(values) for name, values in times.items()}
        speed = options.batch * options.length / medians["iclkit"] / 1000
        print(
            f"2 layers, width {width}, T {options.length}, batch {options.batch}: "
            f"bare {1000 * medians['bare']:.2f} ms, iclkit {1000 * medians['iclkit']:.2f} ms per step, "
            f"ratio {medians['iclkit'] / medians['bare']:.3f} (median of rounds {statistics.median(ratios):.3f}), "
            f"{speed:.1f} ktok/s"
        )


if __name__ == "__main__":
    main()
