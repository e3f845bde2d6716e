"""The held-out certificate end to end: the sandwich, its records, its preconditions, and controls."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from iclkit import engine, plan, plugins
from iclkit.api import LogProbs
from iclkit.cube import open_cube
from iclkit.splits import holdout_splits
from iclkit_bounds import betting, smoothing
from iclkit_bounds.certificates import sequences
from iclkit_bounds.certificates.targets import TARGETS
from iclkit_bounds.sheet import sheet

HELD = {"data": {"holdout": {"topics": 12, "sequences": 20}}}


@pytest.fixture(scope="module")
def run(certified):
    return certified([{"kind": "holdout", "blocks": 3, "contamination": 0.02}], **HELD)


def test_lower_population_and_value_are_in_order(run):
    run.check_sandwich("holdout")
    assert run["holdout_valid"].values.tolist() == [1, 1]
    block = run["holdout_block"] - run["holdout_block_population"]
    assert block.dims == ("target", "block")
    assert bool((block > -4 * run["holdout_block_population_se"]).all())
    assert run["block"].values.tolist() == [1, 5, 9]


def test_the_value_is_the_betting_bound_of_the_held_out_sequences(run):
    ground = run.ground
    config = run.plan.cells[0].config
    split = holdout_splits(config, ground.source, ground.sequences)[0]
    batch = split.chunk(slice(0, len(split)))
    sums = ground.models[30].log_prob(batch).sum(1).numpy()
    mixed = smoothing.seq_mix(sums, 12, 4, 0.1)
    assert run["holdout"].sel(target="sequences") == pytest.approx(betting.upper_limit(mixed.losses, mixed.upper, 0.05))
    assert run.records("holdout")[0].n_units == len(sums) == 80
    assert run.records("holdout")[1].n_units == 12


def test_the_cube_holds_the_same(run):
    engine.run(run.plan, plugins.load()).check()
    cube = open_cube(run.plan.folder).load().isel(seed=0)
    for name in ("holdout", "holdout_record", "holdout_valid", "holdout_block"):
        assert cube[name].values.tolist() == run[name].values.tolist()


def test_other_inequalities_stand_beside_it(run):
    by = run["holdout_by"]
    np.testing.assert_array_equal(by.sel(functional="betting"), run["holdout"])
    assert set(by["functional"].values.tolist()) >= {"floor", "hoeffding", "kl"}
    upper = math.log(4) + math.log(10) / 12
    assert bool((by <= upper + 1e-12).all())


def test_contamination_adds_its_share_of_the_range(run):
    upper = math.log(4) + math.log(10) / 12
    expected = np.minimum(run["holdout"] + 0.02 * upper, upper)
    np.testing.assert_allclose(run["holdout_contaminated"], expected)


def test_settings_that_come_after_a_look_at_the_data_are_not_valid(run, certified):
    again = certified(
        [
            {"kind": "holdout", "blocks": 3, "contamination": 0.02},
            {"kind": "holdout", "name": "late", "blocks": 0, "smoothing": 0.2},
        ],
        folder=run.plan.folder,
        **HELD,
    )
    assert again["holdout_valid"].values.tolist() == [1, 1]
    assert again["late_holdout_valid"].values.tolist() == [0, 0]
    assert all("before these settings" in one.why_invalid["eval_untouched"] for one in again.records("late_holdout"))


def test_held_out_units_of_endless_data_are_out_of_reach_of_an_endless_prior(certified):
    prior = {"trainer": {"steps": 2, "snapshots": 0}}
    data = {"topics": "fresh", "sequences": "fresh", "holdout": {"topics": 10}}
    run = certified([{"kind": "holdout", "targets": ["topics"], "blocks": 0}], data=data, prior=prior)
    assert run["holdout_valid"].item() == 1


def test_listed_topics_and_unequal_weights_are_no_independent_units(certified):
    source = {"kind": "coins", "biases": [0.1, 0.5, 0.8], "weights": [0.6, 0.2, 0.2]}
    data = {"topics": 2, "holdout": {"topics": 1, "sequences": 5}}
    run = certified([{"kind": "holdout", "blocks": 0}], source=source, data=data)
    assert run["holdout_valid"].values.tolist() == [0, 0]
    known, fresh = (record.why_invalid["units_independent"] for record in run.records("holdout"))
    assert "unequal weights" in known
    assert "lists its topics" in fresh


@pytest.mark.parametrize("sequences", [20, "fresh"])
def test_held_out_units_that_repeat_training_sequences_are_not_held_out(certified, sequences):
    """One unit of each topic, so that no two of them can be the same."""
    source = {"kind": "violations", "source": {"kind": "markov", "vocabulary": 4}, "duplicates": 0.9}
    data = {"sequences": sequences, "holdout": {"sequences": 1, "topics": 3}}
    run = certified([{"kind": "holdout", "blocks": 0}], source=source, data=data)
    known, fresh = run.records("holdout")
    seen = sequences == 20  # of endless sequences those that may be repeated are too many to have been met
    assert known.valid is not seen
    assert list(known.why_invalid) == ["split_disjoint"] * seen
    assert "split_disjoint" not in fresh.why_invalid  # no topic repeats another


def test_repeated_units_are_counted_once_and_topics_alike(certified):
    source = {"kind": "violations", "source": {"kind": "markov", "vocabulary": 4}, "duplicates": 0.6}
    data = {"topics": 3, "sequences": 20, "holdout": {"sequences": 40}}
    run = certified([{"kind": "holdout", "blocks": 0, "targets": ["sequences"]}], source=source, data=data)
    (record,) = run.records("holdout")
    assert record.valid
    assert record.n_units % 3 == 0
    assert record.n_units + record.components["left_out"] == 120
    assert f"{record.components['left_out']} held-out sequences left out" in " ".join(sheet(record).split())
    assert 0.15 * 120 < record.n_units < 0.6 * 120


def test_which_units_count_where_some_repeat():
    topic = torch.tensor([1, 1, 1, 1, 2, 2, 2, 2])
    number = torch.tensor([5, 6, 5, 7, 2, 8, 9, 9])  # 5 comes twice, 2 was seen, 9 comes twice
    table = LogProbs(values=torch.arange(8.0, dtype=torch.float64)[:, None], topic=topic, number=number)
    seen = (sequences.Extent(topics=2, sequences=4),)
    kept = sequences.unrepeated(table, TARGETS["sequences"], seen)
    assert kept.values[:, 0].tolist() == [0, 1, 5, 6]  # two of each topic, as the second has no third
    assert kept.topic.tolist() == [1, 1, 2, 2]
    assert kept.number.tolist() == [5, 6, 8, 9]
    assert sequences.unrepeated(table, TARGETS["topics"], seen) is table
    everything = (sequences.Extent(topics=1, sequences=9),)  # of topic 1 nothing would be left
    assert sequences.unrepeated(table, TARGETS["sequences"], everything) is table


def test_one_sequence_under_two_numbers_is_no_two_units(run):
    topic, number = torch.tensor([1, 1, 2]), torch.tensor([1, 2, 1])
    for numbers, holds in ((number, True), (torch.ones_like(number), False)):
        checks, reasons = sequences.unit_checks(run.cell, topic, numbers, TARGETS["sequences"])
        assert checks == {"units_independent": holds}
        assert bool(reasons) is not holds


def test_what_it_needs_is_told_before_training(refused):
    assert "held-out topics" in refused([{"kind": "holdout", "targets": ["topics"]}])
    assert "data.holdout.sequences" in refused([{"kind": "holdout", "targets": ["sequences"]}])
    assert "one or two different targets" in refused([{"kind": "holdout", "targets": []}], **HELD)


@pytest.mark.parametrize("name", ["certificates-topics", "certificates-sequences"])
def test_the_runs_at_full_size_are_configs_without_problems(name):
    folder = Path(__file__).parents[3] / "examples" / "icl-emerges-from-generalization"
    assert plan.load(folder / f"{name}.toml", None, plugins.load()).dims["seed"] == 5


def test_random_tokens_have_no_certificate_below_the_uniform_loss(certified):
    source = {"kind": "dice", "faces": [[0.25, 0.25, 0.25, 0.25]]}
    run = certified(
        [{"kind": "holdout", "targets": ["sequences"], "blocks": 0}],
        source=source,
        data={"topics": 1, "sequences": 16, "holdout": {"sequences": 200}},
        trainer={"steps": 100},
    )
    (record,) = run.records("holdout")
    assert record.valid
    assert record.vacuous
    assert record.value >= math.log(4) - 1e-3


def test_few_memorised_topics_certify_sequences_and_not_topics(certified):
    run = certified(
        [{"kind": "holdout", "blocks": 0}],
        source={"kind": "markov", "vocabulary": 4, "concentration": 0.05},
        data={"topics": 2, "sequences": "fresh", "length": 16, "holdout": {"topics": 20, "sequences": 100}},
        trainer={"steps": 150, "batch_size": 32, "snapshots": [150]},
    )
    known, fresh = run.records("holdout")
    assert known.valid
    assert fresh.valid
    assert known.informative
    assert fresh.vacuous
    run.check_sandwich("holdout")
