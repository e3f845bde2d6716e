"""A tiny run, as a newcomer would do it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import xarray as xr

from iclkit import cli


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run a tiny config once, in a process of its own; returns its config, run folder and what it printed."""
    from conftest_cli import TINY

    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(TINY)
    made = subprocess.run(
        [sys.executable, "-m", "iclkit", "run", "tiny.toml"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert made.returncode == 0, made.stderr
    return folder / "tiny.toml", folder / "runs" / "tiny", made
