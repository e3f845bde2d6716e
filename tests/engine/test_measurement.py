"""What the one pass promises: right numbers, little noise, bounded memory."""

import subprocess
import sys

import numpy as np
import pytest

from iclkit import engine, plan, plugins
from iclkit.cube import final, open_cube

REALISED = '''
from attrs import frozen
from iclkit.api import MetricSpec, Variable, hookimpl

@frozen(kw_only=True)
class NoSettings:
    pass

class Realised:
    """The paired difference on realised tokens, which the mean KL replaces."""

    def __init__(self, config):
        pass

    def score(self, batch):
        difference = batch.references[batch.optimum].log_prob(batch) - batch.model.log_prob(batch)
        return {"realised": difference, "realised_mean": difference.mean(1)}

@hookimpl
def iclkit_metrics():
    yield MetricSpec(
        name="realised", summary="Excess on realised tokens.", config=NoSettings, build="realised_metric:Realised",
        variables=(
            Variable(name="realised", dims=("step", "split", "position"), long_name="excess on realised tokens"),
            Variable(name="realised_mean", dims=("step", "split"), long_name="its mean over positions"),
        ),
    )
'''


def test_excess_by_mean_kl_has_a_tenth_of_the_noise_and_agrees(tiny, tmp_path):
    (tmp_path / "realised_metric.py").write_text(REALISED)
    found = plugins.load([tmp_path / "realised_metric.py"])
    tiny["source"]["biases"] = [0.2, 0.4, 0.6, 0.8]
    tiny["data"]["length"] = 32
    tiny["model"] |= {"width": 16, "layers": 2}
    tiny["trainer"] |= {"steps": 150, "batch_size": 64, "learning_rate": 1e-2, "snapshots": [0]}
    tiny["evaluation"]["sequences"] = 1024
    tiny["metrics"] = [{"kind": "loss"}, {"kind": "realised"}]
    made = plan.load(None, tiny, found, out=tmp_path / "run")
    engine.run(made, found).check()
    last = final(open_cube(made.folder).load()).isel(seed=0).sel(split="topics")
    assert (last["excess_se"] < 0.1 * last["realised_se"]).all()
    apart = abs(last["excess"] - last["realised"]) / np.hypot(last["excess_se"], last["realised_se"])
    assert (apart < 4).all()
    assert (apart < 2).mean() > 0.8


def test_a_reference_measured_as_a_model_has_no_excess_and_its_floor_is_the_optimum(tiny, planned, found):
    """The floor, averaged under the true conditional, is within its error of the exact expectation."""
    tiny["data"] |= {"topics": 3, "length": 8}
    tiny["evaluation"]["sequences"] = 3000
    made = planned(tiny)
    engine.run(made, found).check()
    data = open_cube(made.folder).load().isel(seed=0)
    for reference, split in (("mixture", "sequences"), ("population", "topics"), ("oracle", "topics")):
        one = data.sel(reference=reference, split=split)
        off = abs(one["floor"] - one["optimum"])
        assert (off <= 5 * one["floor_se"] + 1e-12).all()
    assert (data["impossible"] == 0).all()
    gain = data["floor"].sel(reference="oracle") <= data["floor"].sel(reference="mixture") + 1e-12
    assert gain.sel(split="sequences").all()


def test_excess_is_never_silently_against_another_reference(tiny, planned, found):
    tiny["data"]["topics"] = 2
    made = planned(tiny)
    engine.run(made, found).check()
    data = open_cube(made.folder).load().isel(seed=0)
    assert data["excess_reference"].sel(split=["train", "sequences", "topics"]).values.tolist() == [
        "mixture",
        "mixture",
        "population",
    ]
    assert data["excess_kind"].sel(split="train").item() == "paired difference on realised tokens"
    assert data["excess_kind"].sel(split="topics").item() == "mean KL divergence from the reference"


def test_impossible_sequences_are_counted_and_left_out(tiny, planned, found):
    """Two of three coins never land on their other side: the two known ones rule out what the third tosses."""
    tiny["source"]["biases"] = [0.0, 1.0, 0.5]
    tiny["data"]["topics"] = 2
    tiny["evaluation"]["sequences"] = 300
    made = planned(tiny)
    engine.run(made, found).check()
    data = open_cube(made.folder).load().isel(seed=0)
    lost = data["impossible"].sel(reference="mixture", split="topics")
    third = 1 / 3  # all its prefixes but 0...0 and 1...1, and those too: their next token may be the other one
    assert lost.values == pytest.approx([0] + [third] * 7, abs=0.01)
    assert (data["impossible"].sel(reference="population") == 0).all()
    assert np.isfinite(data["floor"].sel(reference="mixture", split="topics")).all()


MEMORY = """
import resource, sys, torch
torch.set_num_threads(1)
from pathlib import Path
from iclkit import engine, plan, plugins
def run(name, topics, sequences):
    found = plugins.load()
    tables = {
        "source": {"kind": "coins", "alpha": 1.0, "beta": 1.0},
        "data": {"length": 16, "topics": topics},
        "model": {"kind": "transformer", "layers": 1, "width": 8, "heads": 2},
        "trainer": {"kind": "accelerate", "steps": 2, "batch_size": 8, "snapshots": [0]},
        "evaluation": {"sequences": sequences},
        "execution": {"kind": "inline"},
    }
    engine.run(plan.load(None, tables, found, out=Path(sys.argv[1]) / name), found).check()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(run("small", 20, 2048), run("sequences", 20, 20480), run("topics", 2000, 2048))
"""


def test_evaluation_memory_grows_neither_with_sequences_nor_with_topics(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    )
    small, sequences, topics = map(float, done.stdout.split())
    assert sequences - small < 40  # MiB above the peak so far
    assert topics - small < 40
