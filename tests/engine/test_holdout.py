"""Held-out data: nobody but a metric that needs them reads them, after training, with settings on record before."""

import json

import pytest
import torch

from iclkit import engine, plan, plugins
from iclkit.cube import open_cube
from iclkit.data import TrainingSequences
from iclkit.errors import ConfigError
from iclkit.splits import holdout_splits, splits

HELD_OUT = '''
import numpy as np
import xarray as xr
from attrs import frozen
from iclkit.api import MetricSpec, NotApplicable, Variable, hookimpl, option

@frozen(kw_only=True)
class Settings:
    split: str = option("which", default="holdout-topics")
    level: float = option("changes nothing but the settings", default=0.5)

class HeldOut:
    """The mean held-out loss at the last step, and whether the settings were on record."""

    def __init__(self, config):
        self.split = config.split

    def begin(self, cell):
        for look in (cell.batches, lambda split: iter([cell.log_probs(split, 0)])):
            try:
                next(look(self.split))
            except NotApplicable:
                continue
            raise AssertionError("held-out data were there before the pass")

    def finish(self, cell):
        table = cell.log_probs(self.split, cell.steps[-1])
        assert table.values.shape[1] == cell.length
        batches = list(cell.batches(self.split))
        assert sum(len(batch) for batch in batches) == len(table.values)
        assert len({*zip(table.topic.tolist(), table.number.tolist())}) == len(table.values)
        loss = -float(table.values.mean())
        return xr.Dataset({"held_out": ((), loss), "declared": ((), float(cell.declared))})

@hookimpl
def iclkit_metrics():
    yield MetricSpec(
        name="held-out", summary="Held-out loss.", config=Settings, build="held_out:HeldOut",
        needs=lambda config: (config.split,),
        variables=(
            Variable(name="held_out", dims=(), long_name="held-out loss"),
            Variable(name="declared", dims=(), long_name="whether it was on record", units="1"),
        ),
    )
'''


@pytest.fixture(scope="module")
def with_metric(tmp_path_factory):
    """The installed plugins and a metric that reads held-out data."""
    file = tmp_path_factory.mktemp("plugin") / "held_out.py"
    file.write_text(HELD_OUT)
    return plugins.load([file])


@pytest.fixture
def tables(tiny):
    """Data with held-out units, and the metric that reads them."""
    data = {"topics": 3, "sequences": 4, "holdout": {"topics": 5, "sequences": 2}}
    metrics = [{"kind": "loss"}, {"kind": "held-out"}]
    return tiny | {
        "source": {"kind": "coins", "alpha": 1.0, "beta": 1.0},
        "data": tiny["data"] | data,
        "metrics": metrics,
    }


@pytest.fixture
def made(tmp_path, with_metric):
    """Plan tables into one folder."""
    return lambda tables: plan.load(None, tables, with_metric, out=tmp_path / "run")


def test_units_follow_those_of_the_training_and_are_of_its_streams(made, tables):
    config = made(tables).cells[0].config
    source = config.source.build()
    data = TrainingSequences(config, source)
    sequences, topics = holdout_splits(config, source, data)
    first = sequences.chunk(slice(0, 6))
    assert first.number.tolist() == [5, 6] * 3
    assert topics.topic.tolist() == [topic for topic in range(4, 9) for _ in range(4)]
    tables["data"] |= {"topics": 8, "sequences": 6}
    config = made(tables).cells[0].config
    more = TrainingSequences(config, source)  # where they are trained on, they are the same sequences
    trained = next(more.all(100))
    for split in (sequences, topics):
        batch = split.chunk(slice(0, 4))
        for row in range(4):
            topic = int(batch.topics.numbers[batch.topic[row]])
            same = (trained.topics.numbers[trained.topic] == topic) & (trained.number == batch.number[row])
            assert torch.equal(trained.tokens[same][0], batch.tokens[row])


def test_neither_training_nor_the_pass_meets_a_held_out_unit(made, tables):
    for topics, sequences in ((3, 4), (3, "fresh"), ("fresh", 4), ("fresh", "fresh")):
        tables["data"] |= {"topics": topics, "sequences": sequences}
        tables["metrics"] = [{"kind": "loss"}]
        config = made(tables).cells[0].config
        source = config.source.build()
        data = TrainingSequences(config, source)

        held = holdout_splits(config, source, data)
        assert [split.name for split in held] == (["holdout-sequences"] if topics == 3 else []) + ["holdout-topics"]
        train = next(split for split in splits(config, source, data) if split.name == "train")
        known = _units(train.chunk(slice(0, len(train))))
        for step in range(50):
            known |= _units(data.batch(step, 8))
        for split in held:
            assert not known & _units(split.chunk(slice(0, len(split))))


def _units(batch):
    return set(zip(batch.topics.numbers[batch.topic].tolist(), batch.number.tolist(), strict=True))


def test_settings_are_on_record_before_and_others_afterwards_are_not(made, tables, with_metric):
    first = made(tables)
    engine.run(first, with_metric).check()
    assert open_cube(first.folder)["declared"].item() == 1
    record = json.loads(next(first.folder.glob("trainings/*/holdout.json")).read_text())
    assert record["served"]
    reader = first.passes[0].settings(["held-out"])["held-out"]
    assert record["declared"] == [reader]  # whoever reads nothing of it has nothing to declare
    tables["metrics"].append({"kind": "held-out", "name": "later", "level": 0.7})
    engine.run(made(tables), with_metric).check()
    later = open_cube(first.folder)
    assert later["declared"].item() == 1
    assert later["later_declared"].item() == 0
    assert later["later_held_out"].item() == later["held_out"].item()


def test_where_nobody_reads_held_out_data_nothing_is_recorded(made, tables, with_metric):
    tables["metrics"] = [{"kind": "loss"}]
    run = made(tables)
    engine.run(run, with_metric).check()
    assert not list(run.folder.glob("trainings/*/holdout.json"))


def test_a_need_that_nobody_knows_is_told(made, tables):
    tables["metrics"] = [{"kind": "held-out", "split": "holdout-topcis"}]
    with pytest.raises(ConfigError, match=r'"holdout-topcis", which is no need that iclkit knows .* allowed: '):
        made(tables)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": {"length": 8, "topics": 3}}, "held-out needs held-out topics; set data.holdout.topics"),
        ({"metrics": [{"kind": "held-out", "split": "prior"}]}, "add a table [prior]"),
        (
            {
                "metrics": [{"kind": "held-out", "split": "drawn-topics"}],
                "source": {"kind": "coins", "biases": [0.1, 0.2]},
            },
            "are listed",
        ),
        ({"metrics": [{"kind": "held-out", "split": "one-pass"}]}, "48 are asked for and there are 12"),
        ({"metrics": [{"kind": "held-out", "split": "finite-data"}], "data": {"length": 8}}, "data that end"),
        (
            {"metrics": [{"kind": "held-out", "split": "record:path_kl"}]},
            "the record path_kl, which the trainer accelerate",
        ),
    ],
)
def test_what_a_metric_cannot_do_without_is_told_before_training(made, tables, changes, told):
    with pytest.raises(ConfigError) as error:
        made(tables | changes)
    assert told in str(error.value)
    assert "metrics[" in str(error.value)
