"""Which snapshots and sequences the metrics that cost more than a pass look at."""

import pytest
import torch

from iclkit import plan, plugins
from iclkit.measured import GivenModel, Ground
from iclkit_metrics.named_predictors import naive_of, predictors_on
from iclkit_metrics.sequences import some_of
from iclkit_metrics.snapshots import chosen


def cell_of(**tables):
    tables = {"source": {"kind": "mr-name"}, "metrics": [{"kind": "loss"}]} | tables
    config = plan.load(None, tables, plugins.load()).cells[0].config
    return Ground(config, GivenModel(None, config), None).cell(config.metrics[0])


@pytest.mark.parametrize(
    ("count", "places"), [(1, [4]), (2, [0, 4]), (3, [0, 2, 4]), (5, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4])]
)
def test_snapshots_are_spread_and_the_last_is_among_them(count, places):
    steps = (0, 10, 20, 50, 70)
    assert chosen(steps, count) == {place: steps[place] for place in places}


@pytest.mark.parametrize("count", [1, 7, 30, 64, 1000])
def test_sequences_are_spread_over_the_split(count):
    data = {"length": 2048, "topics": 2, "sequences": 1}  # four sequences to a chunk
    cell = cell_of(source={"kind": "coins", "biases": [0.3, 0.6]}, data=data, evaluation={"sequences": 24})
    numbers = torch.cat([batch.topic * 10**15 + batch.number for batch in cell.batches("sequences")])
    kept = torch.cat([batch.topic * 10**15 + batch.number for batch in some_of(cell, "sequences", count)])
    assert min(count, 24) / 2 < len(kept) <= count
    stride = (numbers == kept[1]).nonzero().item() if len(kept) > 1 else len(numbers)
    assert torch.equal(kept, numbers[::stride])


def test_references_of_some_rows_compute_those_rows():
    cell = cell_of(data={"length": 8, "topics": 2, "sequences": 1}, evaluation={"sequences": 16})
    (whole,) = cell.batches("sequences")
    every = whole.references["mixture"].log_prob(whole)
    (some,) = some_of(cell, "sequences", 4)
    assert torch.equal(some.references["mixture"].log_prob(some), every[::4])


def test_equal_laws_have_one_name_unless_another_is_asked_for():
    cell = cell_of(data={"length": 8, "topics": 2, "sequences": 1}, evaluation={"sequences": 8})
    batch = next(iter(cell.batches("sequences")))
    naive = naive_of(cell, "sequences")
    assert "population" not in predictors_on(batch, naive, None), "the two authors are all there are"
    assert list(predictors_on(batch, naive, ("population", "uniform"))) == ["population", "uniform"]
