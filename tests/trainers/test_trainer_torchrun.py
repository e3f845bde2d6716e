"""Several processes: torchrun on gloo equals one process, refuses what it cannot split, and falls together."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from iclkit import train, world
from iclkit.cube import open_cube
from iclkit.errors import RunFailures
from iclkit.snapshots import TrainingFolder
from iclkit.world import World
from iclkit_trainers import accelerator

CONFIG = """
[source]
kind = "coins"
biases = [0.2, 0.5, 0.9]

[data]
topics = 2
sequences = 32
length = 16

[model]
kind = "transformer"
layers = 1
width = 8
heads = 2

[trainer]
kind = "accelerate"
steps = {steps}
batch_size = {batch}
snapshots = {snapshots}
learning_rate = 1e-2
{more}

[evaluation]
sequences = 64

[execution]
kind = "inline"
"""
MORE = """
accumulate = 2
clip = 0.3
warmup = 5
schedule = "cosine"
optimizer = "adamw"
record = ["discrepancy", "sequence-gradient"]
subset_topics = 1
"""


def torchrun(config, out, *arguments):
    """Start a run on two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    return start([*command, "-m", "iclkit", "run", str(config), "--out", str(out), *arguments])


def start(command):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def alone(config, out):
    process = start([sys.executable, "-m", "iclkit", "run", str(config), "--out", str(out)])
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0, text


def write(path, steps=40, batch=16, snapshots=6, more="", extra=""):
    path.write_text(CONFIG.format(steps=steps, batch=batch, snapshots=snapshots, more=more) + extra)
    return path


def loss_of(out):
    """The measured losses of all snapshots."""
    return open_cube(out / "cube.zarr").load()["loss"]


def only_training(out):
    (folder,) = (out / "trainings").iterdir()
    return TrainingFolder(folder)


def assert_equal(one, other):
    """Weights equal within 1e-5 of each tensor's norm at every snapshot, the loss of every step within 1e-5.

    Left out is the keys' bias: attention does not depend on it, its gradient is rounding, and Adam divides by that.
    """
    assert one.steps() == other.steps()
    for step in one.steps():
        a, b = one.weights(step), other.weights(step)
        for name in a:
            if name.endswith("queries_keys_values.bias"):
                a[name], b[name] = (torch.cat((weights[name][:8], weights[name][16:])) for weights in (a, b))
            assert float((a[name] - b[name]).norm()) <= 1e-5 * float(b[name].norm()), (step, name)
    a, b = one.history(), other.history()
    assert a.keys() == b.keys()
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("processes", "code"), [("1", 6), ("2", 3)])
def test_a_rank_ends_with_its_code_whatever_happens_in_the_clearing_up(processes, code):
    script = "import atexit, os; from iclkit import world; atexit.register(os._exit, 6); print('said'); world.end(3)"
    environment = os.environ | {"WORLD_SIZE": processes, "PYTHONUNBUFFERED": ""}
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert found.returncode == code
    assert (found.stdout == b"said\n") == (processes == "2")


@pytest.mark.parametrize(
    "more",
    [
        MORE,
        pytest.param('optimizer = "sgld"\nbeta = 1e4', marks=pytest.mark.slow),
        pytest.param('schedule = "plateau"\nplateau_steps = 5', marks=pytest.mark.slow),
    ],
    ids=["adamw", "sgld", "plateau"],
)
def test_two_processes_equal_one(tmp_path, more):
    config = write(tmp_path / "tiny.toml", more=more)
    process = torchrun(config, tmp_path / "two")
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 0, text
    assert "on 2 ranks" in text
    alone(config, tmp_path / "one")
    assert_equal(only_training(tmp_path / "two"), only_training(tmp_path / "one"))
    np.testing.assert_allclose(loss_of(tmp_path / "two"), loss_of(tmp_path / "one"), rtol=1e-5)


@pytest.mark.slow
def test_langevin_on_two_processes_equals_one(tmp_path):
    config = write(tmp_path / "tiny.toml")
    config.write_text(
        re.sub(r"\[trainer\].*\[evaluation\]", LANGEVIN + "\n[evaluation]", config.read_text(), flags=re.DOTALL)
    )
    process = torchrun(config, tmp_path / "two")
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 0, text
    alone(config, tmp_path / "one")
    assert_equal(only_training(tmp_path / "two"), only_training(tmp_path / "one"))
    np.testing.assert_allclose(loss_of(tmp_path / "two"), loss_of(tmp_path / "one"), rtol=1e-5)


LANGEVIN = """[trainer]
kind = "langevin"
steps = 20
snapshots = 4
learning_rate = 0.1
beta = 1e4
subset_sequences = 7
"""


def test_what_cannot_be_split_is_refused_and_other_cells_and_fail_fast_do_not_hang(tmp_path):
    """Three cells, the first of which cannot be split: the others are not begun, and both processes end."""
    extra = '[sweep]\n"trainer.batch_size" = [15, 16, 8]\n'
    config = write(tmp_path / "odd.toml", steps=4, snapshots=2, extra=extra)
    began = time.monotonic()
    process = torchrun(config, tmp_path / "out", "--fail-fast")
    text, _ = process.communicate(timeout=200)
    assert "trainer.batch_size: 15 cannot be split evenly over 2 processes; allowed: a multiple of 2" in text
    assert process.returncode == 1
    assert re.search(r"exitcode\s*: 5", text), text
    assert "lost the other" not in text
    assert len(list((tmp_path / "out" / "trainings").iterdir())) == 1
    assert time.monotonic() - began < 120


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_dies_takes_the_run_down_and_one_process_continues(tmp_path, victim):
    config = write(tmp_path / "long.toml", steps=1500, snapshots=150)
    out = tmp_path / "out"
    process = torchrun(config, out)
    while not (list(out.glob("trainings/*/snapshots/*")) and len(only_training(out).steps()) > 30):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(rank_pid(process.pid, victim), signal.SIGKILL)
    killed = time.monotonic()
    text, _ = process.communicate(timeout=100)
    assert time.monotonic() - killed < 60
    assert process.returncode == 1
    assert "running again continues" in text or "running the same command again continues" in text, text
    assert "SIGKILL" in text or "-9" in text
    left = only_training(out)
    assert not left.done
    resumed, _ = left.state()
    assert resumed > 0
    alone(config, out)
    alone(config, tmp_path / "whole")
    assert left.done
    whole = only_training(tmp_path / "whole")
    assert left.steps() == whole.steps()
    np.testing.assert_allclose(left.history()["loss"][:40], whole.history()["loss"][:40], rtol=1e-3)  # then chaos


def rank_pid(parent, rank):
    """Find the process of a rank among the children of torchrun."""
    for folder in Path("/proc").iterdir():
        try:
            if not folder.name.isdigit():
                continue
            of = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if of == parent and f"RANK={rank}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
        except OSError:  # it ended meanwhile
            continue
    raise AssertionError("no such process")


# ---------------------------------------------------------------- without processes


def test_the_processes_asked_for_are_the_processes_seen(monkeypatch):
    """`accelerate launch --cpu --num_processes 2` silently ran one."""
    monkeypatch.setattr(accelerator, "Accelerator", lambda **_: SimpleNamespace(num_processes=1))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(RuntimeError, match="2 processes were started, accelerate sees 1"),
        accelerator.fresh_accelerator("float32"),
    ):
        pass


def test_the_world_has_the_size_that_was_asked_for(monkeypatch):
    import torch.distributed as dist

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    with pytest.raises(RunFailures, match=r"2 processes were asked for \(WORLD_SIZE\), 1 were found"):
        world.current()


class Pretended(World):
    """One of two ranks, whose messages arrive at once."""

    def broadcast(self, value):
        return value


@pytest.mark.parametrize("rank", [0, 1])
def test_what_befalls_one_rank_alone_ends_its_process(planned, tiny, tmp_path, monkeypatch, rank):
    (training,) = planned(tiny).trainings

    def broken(*arguments):
        raise MemoryError("no more")

    monkeypatch.setattr(train, "TrainingJob", broken)
    here, silent = Pretended(rank=rank, size=2), lambda *arguments, **more: None
    with pytest.raises(RunFailures, match=rf"rank {rank} of 2 stopped in training {training.id}: MemoryError: no more"):
        train.run(training, tmp_path, silent, here)
    assert train.run(training, tmp_path, silent, World())["status"] == "failed", "alone it is recorded"
