"""A tiny run, as a newcomer would do it, and what can be done with what it leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings

import pytest
import xarray as xr


def test_run_says_where_and_what(finished):
    _, run, made = finished
    assert made.stderr.splitlines()[0] == "1 training, 1 worker: runs/tiny"
    assert ": done in " in made.stderr.splitlines()[-1]
    assert "\x1b" not in made.stdout + made.stderr
    first, *_, result, diagnosis = made.stdout.splitlines()
    assert first == "cube: runs/tiny/cube.zarr"
    assert "nat per token above the exact optimum" in result
    assert diagnosis.startswith("No in-context learning yet")
    for line in made.stdout.splitlines():
        if line.startswith("figure: "):
            assert (run.parent.parent / line.removeprefix("figure: ")).stat().st_size > 0


def test_running_again_has_nothing_to_do(call, finished):
    config, run, _ = finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    code, out, err = call("run", config, "--out", run)
    assert (code, err) == (0, "")
    assert out.startswith("Nothing to do")
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_dry_run_does_nothing(call, finished, tmp_path):
    config, run, _ = finished
    code, out, _ = call("run", config, "--out", tmp_path / "new", "--dry-run", "--set", "sweep.seed=[0, 1]")
    assert code == 0
    assert "2 of 2 would be trained or measured" in out
    assert not (tmp_path / "new").exists()
    assert "0 of 1 would be" in call("run", config, "--out", run, "--dry-run")[1]


def test_plan_knows_what_is_done(call, finished):
    config, run, _ = finished
    assert "1 (1 done)" in call("plan", config, "--out", run)[1]


def test_cube_show(call, finished):
    _, run, _ = finished
    code, out, _ = call("cube", "show", run)
    assert code == 0
    assert "1 cells: 0 pending, 1 done, 0 failed" in out
    assert "negative log-likelihood per token" in out
    told = json.loads(call("cube", "show", run / "cube.zarr", "--json")[1])
    assert told["coverage"] == {"pending": 0, "done": 1, "failed": 0}
    assert {dim["name"]: dim["size"] for dim in told["dims"]}["position"] == 8


def _write(data, path):
    for variable in data.variables.values():
        variable.encoding = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.to_zarr(path, zarr_format=3, consolidated=True)


def test_cube_validate(call, finished, tmp_path):
    _, run, _ = finished
    code, out, _ = call("cube", "validate", run)
    assert code == 0
    assert out.startswith("ok: ")
    data = xr.open_zarr(run / "cube.zarr").load()
    data = data.drop_vars("loss_se").assign_attrs(Conventions="other-9")
    del data["excess"].attrs["units"]
    _write(data, tmp_path / "cube.zarr")
    code, _, err = call("cube", "validate", tmp_path)
    assert code == 6
    assert len(err.splitlines()) == 3
    for said in ("loss points to loss_se", "its conventions are other-9", "excess has no units"):
        assert said in err


def test_cube_diff(call, finished, tmp_path):
    _, run, _ = finished
    assert call("cube", "diff", run, run)[:2] == (0, "equal: costs and versions aside\n")
    data = xr.open_zarr(run / "cube.zarr").load()
    data["wall_time"] += 1
    data["loss"][{"position": 3}] += 0.25
    data["floor"][{"position": 0}] = float("nan")
    data = data.drop_vars("regret").assign_attrs(versions="{}")
    _write(data, tmp_path / "cube.zarr")
    code, out, _ = call("cube", "diff", run, tmp_path)
    assert code == 1
    told = dict(line.split(": ", 1) for line in out.splitlines())
    assert set(told) == {"loss", "floor", "regret"}
    assert told["regret"] == "only in the first"
    assert "by 0.25 at most; first at " in told["loss"]
    assert "position=4" in told["loss"]
    assert "missing in one" in told["floor"]
    code, out, _ = call("cube", "diff", run, tmp_path, "--tolerance", 0.3, "--json")
    assert code == 1
    assert [one["where"] for one in json.loads(out)["differences"]] == ["floor", "regret"]


def test_plot(call, finished, tmp_path):
    _, run, _ = finished
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "figures", ignore_errors=True)
    code, out, _ = call("plot", copy, "icl-curve", "--format", "svg")
    assert code == 0
    assert out == f"{copy / 'figures' / 'icl-curve.svg'}\n"
    assert (copy / "figures" / "icl-curve.svg").read_text().startswith("<?xml")
    assert [path.name for path in (copy / "figures").iterdir()] == ["icl-curve.svg"]
    code, _, err = call("plot", copy, "sandwich")
    assert code == 1
    assert "not drawn, for nothing of it was measured in this run: sandwich (Certificates above" in err
    code, _, err = call("plot", copy, "icl-curv")
    assert code == 2
    assert 'did you mean "icl-curve"' in err


def test_training_by_training_as_a_job_array_does(call, finished, tmp_path):
    config, run, _ = finished
    out = tmp_path / "array"
    asked = ("--out", out, "--set", "sweep.seed=[0, 1]")
    trainings = json.loads(call("plan", config, *asked, "--json")[1])["trainings"]
    first, second = (training["id"] for training in trainings)
    code, said, err = call("train", config, first[:6], *asked)
    assert code == 0, err
    assert first in said
    code, said, _ = call("train", config, first, *asked)
    assert (code, said) == (0, f"Nothing to do: {first} is trained and measured.\n")
    code, said, err = call("assemble", config, *asked)
    assert code == 0, err
    assert "1 of 2 trainings are still to be done" in said
    assert "1 pending, 1 done" in call("cube", "show", out)[1]
    assert call("cube", "validate", out)[0] == 0
    assert call("train", config, second, *asked)[0] == 0
    code, said, err = call("assemble", out)  # the folder remembers what was asked for
    assert code == 0, err
    assert "2 cells: 0 pending, 2 done" in call("cube", "show", out)[1]
    same = xr.open_zarr(out / "cube.zarr").sel(seed=[0])
    xr.testing.assert_equal(same["loss"].load(), xr.open_zarr(run / "cube.zarr")["loss"].load())


def test_failed_trainings_are_told_and_the_others_kept(spawn, tiny):
    plugin = tiny.with_name("fragile.py")
    plugin.write_text(FRAGILE)
    asked = (tiny, "--plugin", plugin, "--set", "source={kind='fragile'}", "--set", "sweep.seed=[0, 1]")
    code, out, err = spawn("run", *asked, "--workers", 1)
    assert code == 5
    assert "failed: ValueError: seed 1 is cursed" in err
    assert "iclkit: 1 of the trainings failed" in err.splitlines()[-1]
    assert out.startswith("cube: ")
    code, out, _ = spawn("cube", "show", "runs/tiny")
    assert "1 done, 1 failed" in out
    assert "seed 1 is cursed" in out


def test_fail_fast_begins_no_further_training(spawn, tiny):
    plugin = tiny.with_name("fragile.py")
    plugin.write_text(FRAGILE)
    asked = (tiny, "--plugin", plugin, "--set", "source={kind='fragile'}")
    code, out, err = spawn("run", *asked, "--set", "sweep.seed=[1, 2]", "--workers", 1, "--fail-fast")
    assert code == 5
    assert "[1/2]" in err
    assert "[2/2]" not in err
    assert out.startswith("cube: ")
    seeds = f"sweep.seed={[1, *range(2, 9)]}"
    code, _, err = spawn("run", *asked, "--set", seeds, "--workers", 2, "--fail-fast", "--out", "two")
    assert code == 5
    assert "[8/8]" not in err


FRAGILE = """
import time

import torch
from iclkit.api import Categorical, Facts, Listed, SourceSpec, Uniform, frozen, hookimpl

@frozen(kw_only=True)
class Nothing:
    pass

class Topics:
    def __init__(self, numbers):
        self.numbers = numbers
    def __len__(self):
        return len(self.numbers)
    def __getitem__(self, index):
        return Topics(self.numbers[index])

class Fragile:
    def __init__(self, config):
        pass
    def topics(self, numbers, key):
        return Topics(numbers)
    def sample(self, topics, topic, number, length, key):
        return (key[:, None].fold(torch.arange(length)).uniform() * 2).long()[..., :length], None
    def oracle(self):
        return Uniform(2)

@hookimpl
def iclkit_sources():
    yield SourceSpec(name="fragile", summary="Fails.", config=Nothing, build="fragile:Fragile",
        facts=lambda config: Facts(space=Categorical(2), topics=Listed(weights=(1.0,)), references=("oracle",)))

@hookimpl
def iclkit_training_started(training):
    if training.config.seed == 1:
        Fragile.sample = cursed
    else:
        Fragile.sample = sample
        time.sleep(2)  # a worker that starts late must still be heard to fail before the other has done all

sample = Fragile.sample

def cursed(*args):
    raise ValueError("seed 1 is cursed")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_leaves_promptly_and_continues(spawn, tiny, number):
    asked = ["run", str(tiny), "--workers", "2", "--set", "sweep.seed=[0, 1]", "--set", "trainer.steps=100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "iclkit", *asked],
        cwd=tiny.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(tiny.parent.glob("runs/tiny/trainings/*/progress.json"))) < 2:
        time.sleep(0.1)
    began = time.monotonic()
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert time.monotonic() - began < 10
    assert out == ""
    assert err.splitlines()[1:] == [
        "iclkit: interrupted; what was finished is kept, and running the same command again continues"
    ]
    code, said, _ = spawn("run", tiny, "--dry-run")  # the lock is gone, the folder is sound
    assert code == 0
    assert "1 of 1 would be" in said
