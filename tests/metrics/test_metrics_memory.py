"""Measuring more sequences takes no more memory: what is kept are sums, a chunk at a time."""

import subprocess
import sys

import pytest

MEMORY = """
import resource, torch
torch.set_num_threads(1)
import iclkit
from iclkit.api import Uniform
metrics = ["loss", "divergence", "calibration", "icl-score", "power-law", "occurrence"]
def peak(sequences):
    iclkit.measure(Uniform(2), {"kind": "coins", "alpha": 1.0, "beta": 1.0}, metrics, 16, topics=5, sequences=sequences)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(peak(10_000), peak(100_000))
"""


@pytest.mark.slow
def test_memory_does_not_grow_from_ten_thousand_to_a_hundred_thousand_sequences():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=600)
    few, many = map(float, done.stdout.split())
    assert many - few < 32  # MiB, of which the addresses of two splits are 6
