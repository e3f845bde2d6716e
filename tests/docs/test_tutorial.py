"""The tutorial does what it says: every block of it is executed, in order, in a fresh folder."""

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import iclkit

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?:Write `(?P<file>[\w.]+)`:\s+)?```(?P<kind>\w+)\n(?P<text>.*?)```", re.DOTALL)


def _console(text, folder):
    """Run the lines after `$ `; return what each printed and its exit code."""
    done = []
    for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE):
        program, *words = shlex.split(line)
        assert program == "iclkit"
        command = [sys.executable, "-m", "iclkit", *words]
        done.append(subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600))
    return done


def test_first_run_in_ten_minutes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", "examples")
    printed, codes = [], []
    for block in BLOCK.finditer((ROOT / "docs/tutorial/first-run.md").read_text()):
        if block["kind"] == "console":
            for done in _console(block["text"], tmp_path):
                printed.append(done.stdout + done.stderr)
                codes.append(done.returncode)
        elif block["kind"] == "toml":
            Path(block["file"]).write_text(block["text"])
        elif block["kind"] == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(block["text"], {})
            printed.append(out.getvalue())
    assert codes == [0, 0, 0, 3], printed
    assert "above the exact optimum" in printed[0]
    assert "runs/quickstart/cube.zarr" in printed[0]
    assert 'unknown key (did you mean "width"?)' in printed[-1]
    assert "evaluation.topics: 900 is more than evaluation.sequences = 512" in printed[-1]
    _quickstart_promises()
    _two_coins_promises()


def test_write_a_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"python": "my_source.py", "toml": "my_dice.toml"}
    for block in BLOCK.finditer((ROOT / "docs/how-to/write-a-source.md").read_text()):
        if block["kind"] == "console":
            run, explained = _console(block["text"], tmp_path)
        else:
            Path(names[block["kind"]]).write_text(block["text"])
    assert run.returncode == 0, run.stderr
    assert "above the exact optimum" in run.stdout
    assert explained.returncode == 0, explained.stderr
    assert "mixture" in explained.stdout
    data = iclkit.open_cube("runs/my_dice").load()
    floors = data["floor"].sel(split="sequences").mean("position")
    assert floors.sel(reference="oracle").item() < floors.sel(reference="mixture").item()


def _quickstart_promises():
    last = iclkit.final(iclkit.open_cube("runs/quickstart").load()).isel(seed=0).sel(split="topics")
    assert last["excess"].mean("position") < 0.01
    away = abs(last["floor"].sel(reference="population") - last["optimum"].sel(reference="population"))
    assert (away <= 5 * last["floor_se"].sel(reference="population") + 1e-12).all()
    assert Path("runs/quickstart/figures/icl-curve.png").stat().st_size > 10_000
    assert last["wall_time"] > 0


def _two_coins_promises():
    last = iclkit.final(iclkit.open_cube("runs/two_coins").load()).isel(seed=0)
    excess = last["excess"].mean("position")
    assert excess.sel(topics=2, split="sequences") < 0.02
    assert excess.sel(topics=2, split="topics") > 5 * excess.sel(topics=4, split="topics")
    assert np.isfinite(excess).all()
