"""Cells whose model is a predictor with a known answer."""

from types import SimpleNamespace

import pytest

from iclkit import evaluate, plan
from iclkit.measured import Ground
from iclkit.splits import splits
from iclkit.world import World


@pytest.fixture
def cell_of(found):
    """Make a cell of these tables with a predictor as its only model, at step 0.

    `model` is called with the cell's ground, which has its source and references. With `train` the cell has the split
    train too, as if the model had been trained on the data of the tables.
    """

    def make(model, tables, train=False):
        tables = {"evaluation": {"sequences": 64}, **tables}
        config = plan.load(None, tables, found).cells[0].config
        ground = Ground(config, SimpleNamespace(steps=(0,)), None)
        ground.models = Models(model(ground))
        ground.splits = splits(config, ground.source, ground.sequences, trained=train)
        return ground

    return make


class Models:
    steps = (0,)

    def __init__(self, model):
        self._model = model

    def __getitem__(self, step):
        return self._model


@pytest.fixture
def measured(cell_of):
    """Measure such a cell with the metrics of its tables; without the dim of steps."""

    def make(model, tables, train=False):
        ground = cell_of(model, tables, train)
        made = evaluate.measure(ground, {metric.name: "" for metric in ground.config.metrics}, World())
        assert not made.failures, "\n".join(made.failures.values())
        return made.data.isel(step=0, drop=True) if "step" in made.data.dims else made.data

    return make


@pytest.fixture
def text(tmp_path, monkeypatch):
    """Tables of a text, about which nothing is known exactly: bytes, one topic."""
    monkeypatch.setenv("ICLKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "fox.txt").write_text("the quick brown fox jumps over the lazy dog " * 200)
    return {
        "source": {"kind": "text", "path": str(tmp_path / "text")},
        "data": {"topics": 1, "sequences": 4, "length": 8},
        "evaluation": {"sequences": 8},
    }
