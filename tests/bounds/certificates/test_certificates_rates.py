"""How often certificates fail from end to end: as `iclkit run` trains, measures and stores them."""

import subprocess
import sys

import numpy as np
import pytest

import iclkit
from iclkit_bounds.concentration import binomial_tail

DRAWS, DELTA = 200, 0.1
CONFIG = f"""
[source]
kind = "markov"
vocabulary = 4
concentration = 0.3

[data]
length = 8
topics = 12
sequences = 8
holdout = {{ topics = 12, sequences = 4 }}

[model]
kind = "gru"
width = 12

[prior]
data = {{ topics = 6 }}
trainer = {{ kind = "accelerate", steps = 20 }}

[trainer]
kind = "langevin"
steps = 10
learning_rate = 0.02
beta = 1e4
snapshots = []

[evaluation]
sequences = 800

[[metrics]]
kind = "holdout"
delta = {DELTA}
blocks = 0

[[metrics]]
kind = "langevin-path"
delta = {DELTA}

[[metrics]]
kind = "pacbayes"
delta = {DELTA}
pulls = [0.0]
noise = 0.01
draws = 4
passes = 1

[[metrics]]
kind = "compression"
delta = {DELTA}
bits = [4]
targets = ["sequences", "topics"]

[sweep]
seed = {list(range(DRAWS))}
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_certificates_of_many_runs_fail_no_more_often_than_they_say(tmp_path, capsys):
    """Each seed has topics, sequences, held-out units, start and noise of its own."""
    (tmp_path / "rates.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "iclkit", "run", str(tmp_path / "rates.toml"), "--out", str(tmp_path / "run")]
    subprocess.run(command, check=True, capture_output=True)
    cube = iclkit.open_cube(tmp_path / "run").load()
    counts = {}
    for name in ("holdout", "langevin_path", "pacbayes", "compression"):
        known = cube[name].notnull() & (cube[f"{name}_valid"] == 1)
        failed = known & (cube[name] < cube[f"{name}_population"])
        for target in cube["target"].values:
            n = int(known.sel(target=target).sum())
            if n:
                counts[f"{name} {target}"] = int(failed.sel(target=target).sum()), n
    with capsys.disabled():
        sys.stdout.write(f"\nfailures at delta = {DELTA}: {counts}" + "\n")
    assert len(counts) >= 5
    assert {n for _, n in counts.values()} == {DRAWS}
    assert all(failed == 0 or 1 - binomial_tail(failed - 1, n, DELTA) >= 0.01 for failed, n in counts.values())
    assert np.isfinite(cube["holdout"]).all()
