"""Several processes: torchrun on gloo equals one process, refuses what it cannot split, and falls together."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from iclkit import train, world
from iclkit.errors import RunFailures
from iclkit.snapshots import TrainingFolder
from iclkit.world import World
from iclkit_trainers.accelerator import fresh_accelerator

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


def only_training(out):
    (folder,) = (out / "trainings").iterdir()
    return TrainingFolder(folder)


def assert_equal(one, other):
    """Equal within 1e-5, relative to the largest weight of a tensor and to each loss."""
    assert one.steps() == other.steps()
    for step in one.steps():
        a, b = one.weights(step), other.weights(step)
        for name in a:
            assert float((a[name] - b[name]).abs().max()) <= 1e-5 * float(b[name].abs().max()), (step, name)
    a, b = one.history(), other.history()
    assert a.keys() == b.keys()
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-6, err_msg=name)


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
    assert "exitcode: 5" in text.replace(" :", ":").replace("exitcode  ", "exitcode"), text
    assert "lost the other" not in text
    assert len(list((tmp_path / "out" / "trainings").iterdir())) == 1
    assert time.monotonic() - began < 120


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_dies_takes_the_run_down_and_one_process_continues(tmp_path, victim):
    config = write(tmp_path / "long.toml", steps=3000, snapshots=300)
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
    np.testing.assert_allclose(left.history()["loss"][:200], whole.history()["loss"][:200], rtol=1e-4)


def rank_pid(parent, rank):
    """Find the process of a rank among the children of torchrun."""
    for folder in os.listdir("/proc"):
        if folder.isdigit():
            try:
                with open(f"/proc/{folder}/stat") as file:
                    of = int(file.read().rpartition(")")[2].split()[1])
                with open(f"/proc/{folder}/environ", "rb") as file:
                    mine = f"RANK={rank}".encode() in file.read().split(b"\0")
            except OSError:
                continue
            if of == parent and mine:
                return int(folder)
    raise AssertionError("no such process")


# ---------------------------------------------------------------- without processes


def test_the_processes_asked_for_are_the_processes_seen(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeError, match="2 processes were started, accelerate sees 1"), fresh_accelerator("float32"):
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
