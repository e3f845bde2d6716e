"""Both kinds of model reach the exact floor on the quickstart: `python -m pytest examples -m slow`."""

import subprocess
import sys
from pathlib import Path

import pytest

import iclkit


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", ['{kind = "lstm", width = 64}', None], ids=["lstm", "transformer"])
def test_the_model_reaches_the_exact_floor(model, tmp_path):
    command = [sys.executable, "-m", "iclkit", "run", str(Path(__file__).with_name("quickstart.toml"))]
    changes = ["--set", f"model={model}"] if model else []
    done = subprocess.run([*command, "--out", str(tmp_path), *changes], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    last = iclkit.final(iclkit.open_cube(tmp_path).load().squeeze()).sel(split="topics")
    assert float(last["excess"].mean()) < 0.002
    assert float(last["excess"].max()) < 0.01
