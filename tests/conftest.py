"""What all tests share: a tiny config and the plugins."""

import copy

import pytest
import torch

from iclkit import plan, plugins

TINY = {
    "title": "tiny",
    "source": {"kind": "coins", "biases": [0.2, 0.5, 0.9]},
    "data": {"length": 8},
    "model": {"kind": "transformer", "layers": 1, "width": 8, "heads": 2},
    "trainer": {"kind": "accelerate", "steps": 6, "batch_size": 8, "snapshots": [0, 3]},
    "evaluation": {"sequences": 16},
    "execution": {"kind": "inline"},
}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def tiny():
    """Tables of a config that trains in a fraction of a second; a copy, to be changed freely."""
    return copy.deepcopy(TINY)


@pytest.fixture(scope="session")
def found():
    """The installed plugins."""
    return plugins.load()


@pytest.fixture
def planned(tmp_path, found):
    """Plan tables into a folder below tmp_path."""

    def make(tables, out="run"):
        return plan.load(None, tables, found, out=tmp_path / out)

    return make
