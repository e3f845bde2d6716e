"""Tiny trainings with certificates: a GRU on Markov chains of four tokens."""

import copy

import numpy as np
import pytest
import xarray as xr

from iclkit import engine, plan, plugins
from iclkit.config import merge
from iclkit.measured import Ground, SnapshotModels
from iclkit.parts import Parts
from iclkit_bounds.record import Certificate

BASE = {
    "source": {"kind": "markov", "vocabulary": 4, "concentration": 0.3},
    "data": {"length": 12, "topics": 4, "sequences": 20},
    "model": {"kind": "gru", "layers": 1, "width": 12},
    "trainer": {"kind": "accelerate", "steps": 30, "batch_size": 16, "learning_rate": 0.02, "snapshots": [0, 10, 20]},
    "evaluation": {"sequences": 160},
    "execution": {"kind": "inline"},
}


class Run:
    """A plan with one cell, trained and measured in this process; cube and figures are left out."""

    def __init__(self, tables, folder, found):
        self.plan = plan.load(None, tables, found, out=folder)
        for task in engine.missing_tasks(self.plan, found):
            for outcome in engine.work(task).values():
                assert outcome["status"] == "done", outcome["traceback"]
        (measured,) = self.plan.passes
        parts = Parts(folder / "parts").of(measured.id, measured.metrics)
        self.data = xr.merge([part.load() for part, _ in parts], join="outer", compat="no_conflicts")

    def __getitem__(self, name):
        return self.data[name]

    def records(self, name):
        """Return a metric's records that are there, in the order of their dims."""
        texts = np.atleast_1d(self.data[f"{name}_record"].values).ravel()
        return [Certificate.from_json(str(text)) for text in texts if text]

    @property
    def ground(self):
        """What the metrics of the cell see."""
        training = self.plan.cells[0].measured.training
        place = self.plan.folder / "trainings"
        models = SnapshotModels(training.config, engine.TrainingFolder(place / training.id))
        return Ground(self.plan.cells[0].config, models, (training, place))

    @property
    def cell(self):
        """What its first metric sees, held-out data aside."""
        return self.ground.cell(self.plan.cells[0].config.metrics[0])

    def check_sandwich(self, name):
        """Check lower <= population <= value, four standard errors allowed, and records against variables."""
        data, se = self.data, self.data[f"{name}_population_se"]
        population = data[f"{name}_population"]
        known = data[name].notnull()
        assert known.any()
        assert bool((data[f"{name}_lower"] <= population + 4 * se).where(known, True).all())
        assert bool((population - 4 * se <= data[name]).where(known, True).all())
        there = np.atleast_1d(data[f"{name}_record"].values != "").ravel()  # a dim may have labels of another metric
        values, valid, shares = (np.atleast_1d(data[f"{name}{end}"]).ravel()[there] for end in ("", "_valid", "_share"))
        records = self.records(name)
        for record, value, holds, share in zip(records, values, valid, shares, strict=True):
            np.testing.assert_equal(value, record.value)
            assert holds == float(record.valid)
            np.testing.assert_equal(share, np.nan if record.share is None else record.share)
            assert sum(record.delta_ledger.values()) <= record.delta * (1 + 1e-9)


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """Run tables that differ from the base, a run's folder each unless one is given."""
    found = plugins.load()

    def run(metrics, folder=None, **changes):
        tables = merge(copy.deepcopy(BASE), {**changes, "metrics": metrics})
        tables = {name: table for name, table in tables.items() if table is not None}
        return Run(tables, folder or tmp_path_factory.mktemp("run") / "run", found)

    return run


@pytest.fixture
def refused():
    """Return the text that a config is refused with."""
    found = plugins.load()

    def told(metrics, **changes):
        with pytest.raises(plan.ConfigError) as error:
            plan.load(None, merge(copy.deepcopy(BASE), {**changes, "metrics": metrics}), found)
        return str(error.value)

    return told
