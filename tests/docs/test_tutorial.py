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
import pytest

import iclkit

ROOT = Path(__file__).parents[2]
_KINDS = ("python", "toml", "console")
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


def test_write_a_metric(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/how-to/write-a-metric.md").read_text()
    blocks = {kind: [block["text"] for block in BLOCK.finditer(page) if block["kind"] == kind] for kind in _KINDS}
    metric, by_hand = blocks["python"]
    assert len([line for line in metric.splitlines() if line.strip()]) <= 20 + 3  # the imports aside
    Path("my_metric.py").write_text(metric)
    Path("my_coins.toml").write_text(blocks["toml"][0])
    (run,) = _console(blocks["console"][0], tmp_path)
    assert run.returncode == 0, run.stderr
    last = iclkit.final(iclkit.open_cube("runs/my_coins").load())
    assert last["agreement"].dims == ("seed", "split", "position")
    assert 0.5 < last["agreement"].sel(split="topics").mean() <= 1
    assert (last["agreement_se"].sel(split="topics") >= 0).all()
    done = subprocess.run([sys.executable, "-c", by_hand], capture_output=True, text=True, timeout=600)
    assert 0.5 < float(done.stdout) <= 1, done.stderr


def test_take_a_model_out(tmp_path, monkeypatch):
    pytest.importorskip("transformers").utils.logging.disable_progress_bar()
    monkeypatch.chdir(tmp_path)
    printed, names = [], {}
    for block in BLOCK.finditer((ROOT / "docs/how-to/take-a-model-out.md").read_text()):
        if block["kind"] == "console":
            ran, exported = _console(block["text"], tmp_path)
        elif block["kind"] == "toml":
            Path("my_mess3.toml").write_text(block["text"])
        else:
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(block["text"], names)
            printed.append(out.getvalue().strip())
    assert (ran.returncode, exported.returncode) == (0, 0), ran.stderr + exported.stderr
    assert "mess3/transformers/model.safetensors" in exported.stdout.splitlines()
    shape, equal, shapes = printed
    assert shape == "torch.Size([1, 4, 3])"
    assert equal == "tensor(True)"
    assert "'layer_2': (64, 16, 32)" in shapes
    assert "'attention.layer_2': (64, 4, 16, 16)" in shapes


def test_measure_your_own_model(capsys):
    names = {}
    for block in BLOCK.finditer((ROOT / "docs/how-to/measure-your-own-model.md").read_text()):
        exec(block["text"], names)
    assert "'uniform'" in capsys.readouterr().out
    assert names["data"]["split"].values.tolist() == ["topics"]
    assert 0 < names["data"]["excess"].mean() < 0.1
    assert 0.5 < names["probed"]["belief_r2"].item() <= 1


def test_certify_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed, names = [], {}
    for block in BLOCK.finditer((ROOT / "docs/how-to/certify-a-model.md").read_text()):
        if block["kind"] == "console":
            planned, ran, sheets = _console(block["text"], tmp_path)
        elif block["kind"] == "toml":
            Path("my_chains.toml").write_text(block["text"])
        else:
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(block["text"], names)
            printed.append(out.getvalue())
    assert (planned.returncode, ran.returncode, sheets.returncode) == (0, 0, 0), ran.stderr + sheets.stderr
    assert planned.stdout.count("200 held-out units") == 2
    assert sheets.stdout.count("  VALID: every precondition was met.") == 2
    assert "at a cost of at most 0.0044 nat per token" in " ".join(sheets.stdout.split())
    assert Path("runs/my_chains/figures/sandwich.png").stat().st_size > 10_000
    made = names["ds"]
    assert (made["holdout_lower"] < made["holdout_population"]).all()
    assert (made["holdout_population"] < made["holdout"]).all()
    assert (made["holdout"] - made["holdout_population"] < 0.1).all()
    assert (made["holdout_gain"] > 0.1).all()
    needed = [int(line.split()[1]) for line in printed[1].splitlines()]
    assert needed[0] < 100 < needed[1] < 250 and 700 < needed[2] < 1400


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
