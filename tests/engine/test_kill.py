"""Killing the whole run at any moment loses little and corrupts nothing."""

import random
import shutil
import subprocess
import sys

import pytest
import xarray as xr

from iclkit.cube import open_cube

COSTS = ["wall_time", "peak_memory", "tokens_per_second", "prior_cost"]
CONFIG = """
[source]
kind = "coins"
biases = [0.2, 0.5, 0.9]

[data]
length = 16

[model]
kind = "transformer"
layers = 1
width = 8
heads = 2

[trainer]
kind = "accelerate"
steps = 120
batch_size = 16
snapshots = 12

[evaluation]
sequences = 256

[execution]
kind = "{executor}"
workers = 2

[sweep]
"data.topics" = [1, 2, 3]
seed = [0, 1, 2, 3]
"""


def _start(config, out):
    command = [sys.executable, "-m", "iclkit", "run", str(config), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def _killed_run(config, out, kills, seed):
    """Kill the main process at random moments, `kills` times in its work, then let it finish.

    A run that ends before its moment is thrown away, so that there is work to be killed in.
    """
    moments, landed = random.Random(seed), 0
    while landed < kills:
        process = _start(config, out)
        try:
            process.wait(timeout=moments.uniform(1, 6))
            shutil.rmtree(out)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            landed += 1
    assert _start(config, out).wait(timeout=300) == 0


def _same(a, b):
    one, other = (open_cube(path).load().drop_vars(COSTS).drop_attrs(deep=False) for path in (a, b))
    xr.testing.assert_identical(one, other)


@pytest.mark.parametrize(
    ("executor", "kills"),
    [
        ("processes", 3),
        pytest.param("processes", 20, marks=pytest.mark.slow),
        pytest.param("inline", 20, marks=pytest.mark.slow),
    ],
)
def test_killed_and_continued_equals_uninterrupted(tmp_path, executor, kills):
    config = tmp_path / "sweep.toml"
    config.write_text(CONFIG.format(executor=executor))
    assert _start(config, tmp_path / "whole").wait(timeout=300) == 0
    _killed_run(config, tmp_path / "killed", kills, seed=kills)
    _same(tmp_path / "whole", tmp_path / "killed")
    leftovers = [path for path in (tmp_path / "killed").rglob(".*") if path.suffix in (".tmp", ".old")]
    assert not leftovers
