"""Running the command line: in this process where it is light, in its own where that matters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from iclkit import cli

PLUGINS = Path(__file__).parents[1] / "data" / "plugins"

TINY = """
title = "Tiny"

[source]
kind = "coins"
biases = [0.2, 0.8]

[data]
length = 8

[model]
layers = 1
width = 8
heads = 2

[trainer]
steps = 5
batch_size = 8
snapshots = 2

[evaluation]
sequences = 16
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def call(capsys):
    """Run a command in this process: returns (exit code, stdout, stderr)."""

    def run(*args):
        with pytest.raises(SystemExit) as left:
            cli.main(list(map(str, args)))
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def spawn(tmp_path):
    """Run a command in its own process, with the plugins of some cases of tests/data/plugins installed."""

    def run(*args, cases=(), **environ):
        variables = {name: value for name, value in os.environ.items() if not name.startswith("ICLKIT_")}
        path = [str(PLUGINS / case) for case in cases]
        made = subprocess.run(
            [sys.executable, "-m", "iclkit", *map(str, args)],
            env=variables | {"PYTHONPATH": os.pathsep.join(path)} | environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return made.returncode, made.stdout, made.stderr

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Run the tiny config once, in a process of its own: returns (config, run folder, what was printed)."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(TINY)
    made = subprocess.run(
        [sys.executable, "-m", "iclkit", "run", "tiny.toml"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    return folder / "tiny.toml", folder / "runs" / "tiny", made
