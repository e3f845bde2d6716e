"""A certificate against the evaluation pass it rests on: python tests/benchmarks/bench_certificates.py.

10 000 held-out sequences at V = 50, T = 256; a transformer of 2 layers, width 64; one thread, medians of CPU time.
"""

import statistics
import time

import numpy as np
import torch

from iclkit.api import Categorical
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


if __name__ == "__main__":
    main()
