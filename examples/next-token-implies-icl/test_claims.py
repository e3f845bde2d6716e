"""What the first paper's experiments claim, at one seed: `python -m pytest examples -m slow`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import iclkit

HERE = Path(__file__).parent


def cube(name, folder, *assignments):
    """Run an example with some settings changed and open its cube."""
    command = [sys.executable, "-m", "iclkit", "run", str(HERE / name), "--out", str(folder), "--workers", "1"]
    changes = [part for assignment in assignments for part in ("--set", assignment)]
    done = subprocess.run([*command, *changes], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return iclkit.open_cube(folder).load().squeeze()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_gru_learns_the_name_mixture_in_stages(tmp_path):
    data = cube("name-mixture.toml", tmp_path, "sweep={}")
    nearest = data["nearest"].sel(split="topics").values.tolist()
    stages = [name for place, name in enumerate(nearest) if place == 0 or nearest[place - 1] != name]
    assert stages == ["uniform", "static-unigram", "static-bigram", "population"]
    levels = data["plateau_level"].sel(positions="all").values
    np.testing.assert_allclose(levels[:2], [1.4452, 0.9514], atol=0.05)  # the unigram's and the bigram's loss
    last = iclkit.final(data)
    assert float(last["excess"].sel(split="topics").mean()) < 0.01
    names = last["occurrence_loss"].sel(split="topics")
    assert float(names.isel(occurrence=0)) == pytest.approx(0.9918, abs=0.1)  # a name that was not seen: a guess
    assert float(names.isel(occurrence=5)) < 0.05  # a name that was


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_induction_needs_two_layers_and_appears_with_the_head(tmp_path):
    data = cube("induction.toml", tmp_path, "sweep.seed=[0]")
    late = iclkit.final(data)["loss"].sel(split="topics", position=slice(48, None)).mean("position")
    assert float(late.sel(layers=1)) > 1.0
    assert float(late.sel(layers=2)) < 0.05
    two = data.sel(layers=2)
    best = two["prefix_matching"].max(["layer", "head"]).dropna("step")
    assert float(best.max()) > 0.7
    half = float(best.max()) / 2
    after = int(np.argmax(best.values >= half))
    low, high = best.isel(step=after - 1), best.isel(step=after)  # between two snapshots, on a line
    crossing = float(low["step"] + (half - low) / (high - low) * (high["step"] - low["step"]))
    change = two.sel(positions="32-63").isel(change=0)
    width = float(change["change_width"])
    assert float(change["change_low"]) - width <= crossing <= float(change["change_high"]) + width
