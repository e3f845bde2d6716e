"""Certificates from the data that were trained on: path, PAC-Bayes, compression, paper, tokens; all in one training."""

import math

import numpy as np
import pytest
import torch

from iclkit_bounds import betting, compression, paper
from iclkit_bounds.certificates import langevin_path, posteriors, sequences
from iclkit_bounds.certificates.evidence import evidence
from iclkit_bounds.certificates.pacbayes import FUNCTIONALS
from iclkit_bounds.certificates.targets import TARGETS
from iclkit_bounds.sheet import sheet

UPPER = math.log(4) + math.log(10) / 12
METRICS = [
    {"kind": "langevin-path", "compare": True},
    {"kind": "pacbayes", "pulls": [0.0, 0.01], "noise": 1e-5, "draws": 24, "passes": 2},
    {"kind": "compression", "bits": [2, 6], "targets": ["sequences", "topics"]},
    {"kind": "compression", "name": "drawn", "bits": [2], "sequences": 40},
    {"kind": "token-bound", "bits": 4},
    {"kind": "paper-bound"},
    {"kind": "paper-bound", "name": "strict", "mode": "strict", "draws": 24, "passes": 2},
    {"kind": "optimisation-error"},
]
PRIOR = {"prior": {"data": {"topics": 2, "sequences": 10}, "trainer": {"kind": "accelerate", "steps": 60}}}
STILL = {"trainer": {"kind": "langevin", "steps": 0, "snapshots": 0}}


def descent(**changes):
    return {"trainer": {"kind": "langevin", "steps": 20, "learning_rate": 0.02, "beta": 1e4, "snapshots": 2} | changes}


@pytest.fixture(scope="module")
def run(certified):
    return certified(METRICS, data={"holdout": {"topics": 4, "sequences": 5}}, **PRIOR, **descent())


@pytest.mark.parametrize("name", ["langevin_path", "pacbayes", "compression", "token_bound", "paper_bound"])
def test_lower_population_and_value_are_in_order(run, name):
    run.check_sandwich(name)


@pytest.mark.parametrize("name", ["drawn_compression", "strict_paper_bound"])
def test_the_same_holds_under_other_settings(run, name):
    run.check_sandwich(name)


def test_all_but_the_literal_rate_are_valid(run):
    for name in ("langevin_path", "pacbayes", "compression", "token_bound", "strict_paper_bound"):
        assert all(record.valid for record in run.records(name)), name
    for record in run.records("paper_bound"):
        assert record.why_invalid["constants_known"] == paper.WHY_INVALID
        assert record.delta_ledger == {"bound": 0.05}


def test_a_path_costs_what_the_training_recorded(run):
    history = run.ground.folder.history()
    at = history["step"].tolist().index(19)
    cost = max(0.0, history["path_kl"][at] + history["path_noise"][at])
    assert cost > 0
    np.testing.assert_allclose(run["langevin_path_cost"], cost)
    target = TARGETS["sequences"]
    units = sequences.outside(run.cell, sequences.Extent(topics=2, sequences=10), target)
    assert sorted(set(units.number.tolist())) == list(range(11, 21))
    assert len(units) == 4 * 10
    assert [record.n_units for record in run.records("langevin_path")] == [40, 2]
    assert all(record.gain_over_holdout is not None for record in run.records("langevin_path"))


def test_a_path_that_went_nowhere_and_a_pull_of_nothing_are_the_prior_s_bound(certified):
    metrics = [{"kind": "langevin-path"}, {"kind": "pacbayes", "pulls": [0.0], "noise": 1e-9, "draws": 2, "passes": 1}]
    run = certified(metrics, **PRIOR, **STILL)
    assert run["langevin_path_cost"].values.tolist() == [0, 0]
    np.testing.assert_allclose(run["langevin_path"], run["pacbayes_prior"], atol=1e-9)
    np.testing.assert_allclose(run["pacbayes"].sel(pull=0), run["pacbayes_prior"], atol=1e-4)
    assert run["pacbayes_cost"].values.tolist() == [[0], [0]]


def test_draws_cost_their_density_ratio_and_functionals_stay_in_range(run):
    assert bool((run["pacbayes_cost"].sel(pull=0) == 0).all())
    assert bool((run["pacbayes_cost"].sel(pull=0.01) > 10).all())
    assert bool((run["pacbayes"].sel(pull=0) < run["pacbayes"].sel(pull=0.01)).all())
    by = run["pacbayes_by"].dropna("functional")
    assert sorted(by["functional"].values.tolist()) == sorted(FUNCTIONALS)
    assert bool((by <= UPPER + 1e-12).all())


def test_each_pull_has_its_share_of_delta(run):
    cell = run.cell
    units = sequences.outside(cell, sequences.Extent.of(cell.prior.data), TARGETS["sequences"])
    table = sequences.table_of(cell, cell.models.with_weights(cell.prior.weights), [units])
    losses = evidence(table, TARGETS["sequences"], 4, 0.1).units  # the noise is too small to tell
    expected = betting.upper_limit(losses, UPPER, 0.05 / 2)
    np.testing.assert_allclose(run["pacbayes"].sel(target="sequences", pull=0), expected, atol=1e-3)
    assert expected - betting.upper_limit(losses, UPPER, 0.05) > 3e-3


def test_functionals_of_a_pull_of_nothing_bound_the_average_over_draws(certified):
    metrics = [{"kind": "pacbayes", "pulls": [0.0], "noise": 0.01, "draws": 100, "passes": 4, "targets": ["sequences"]}]
    data = {"topics": 4, "sequences": 50, "length": 8}
    run = certified(metrics, data=data, **PRIOR, **STILL)
    by = run["pacbayes_by"].isel(target=0)
    population, se = (run[f"pacbayes_population{end}"].item() for end in ("", "_se"))
    assert bool((by > population - 4 * se).all())
    assert float(by.min()) < math.log(4)  # they say something


def test_random_parts_of_the_units_average_to_the_whole(run):
    cell = run.cell
    units = sequences.outside(cell, sequences.Extent(topics=2, sequences=10), TARGETS["topics"])
    law = posteriors.posterior(cell, 20, 1.0, 1e-12)

    def topics(table, part):
        assert torch.equal(table.topic, part.topics.numbers[part.topic])
        return np.array([table.values.mean(), len(table.topic), table.topic.unique().numel()])

    found = posteriors.over_draws(cell, law, units, TARGETS["topics"], 4, 4, topics)
    assert found[:, 1].tolist() == [40] * 4
    assert found[:, 2].tolist() == [2] * 4
    whole = sequences.table_of(cell, cell.models[20], [units]).values.mean()
    np.testing.assert_allclose(found[:, 0], whole, rtol=1e-6)


def test_codes_cost_their_length(run):
    cell = run.cell
    weights = {name: value.detach().clone() for name, value in cell.models[20].module.named_parameters()}
    codes = [compression.quantise(weights, bits) for bits in (2, 6)]  # from zeros: data entered the initial weights
    np.testing.assert_allclose(run["compression_cost"].sel(grid_bits=[2, 6]), [[code.cost for code in codes]] * 2)
    assert [record.n_units for record in run.records("compression")] == [80, 80, 4, 4]
    assert run.records("drawn_compression")[0].components["evaluated"] == 40


def test_token_bounds_lie_above_the_exact_value(run):
    by = run["token_bound_by"].dropna("functional")
    assert sorted(by["functional"].values.tolist()) == ["azuma", "centred-bernstein", "hellinger"]
    assert bool((by >= run["token_bound_population"]).all())
    assert run["token_bound_lower"] < run["token_bound_population"]
    assert run.records("token_bound")[0].n_units == 80 * 12


def test_the_literal_rate_falls_with_its_constant_and_the_strict_one_is_capped(run):
    assert run["strict_paper_bound"].max() <= math.log(4 / 0.01) + 1e-12
    records = run.records("paper_bound")
    divergence = run["paper_bound_divergence"].values[0]
    again = paper.sequences(topics=4, per_topic=20, prior_per_topic=10, length=12, divergence=divergence, delta=0.05)
    assert records[0].value == pytest.approx(again.value)
    assert [record.components["mode"] for record in records] == ["paper", "paper"]


def test_the_optimisation_error_is_bracketed(run):
    lower, upper = run["optimisation_error_lower"], run["optimisation_error"]
    assert upper.sizes["step"] == run["step"].size
    assert lower.min() == 0
    assert bool((upper >= lower).all())
    cell = run.cell
    table = sequences.table_of(cell, cell.models[20], cell.training.all(1000))
    assert run["optimisation_error_loss"].sel(step=20) == pytest.approx(-float(table.values.mean()))
    parameters = sum(value.numel() for value in cell.models[20].module.parameters())
    room = (32 * parameters * math.log(2) + math.log(1 / 0.025)) / (80 * 12)
    assert run["optimisation_error_allowance"].sel(bits=32) == pytest.approx(room)


def test_a_target_that_the_prior_leaves_nothing_of_is_told_in_its_record(certified):
    prior = {"prior": {"data": {"sequences": 10}, "trainer": {"kind": "accelerate", "steps": 5}}}
    run = certified([{"kind": "langevin-path"}], **prior, **descent(steps=2), evaluation={"length": 8})
    assert run["langevin_path_valid"].values.tolist() == [1, 0]
    assert np.isnan(run["langevin_path"].values[1])
    assert np.isfinite(run["langevin_path"].values[0])
    assert np.isnan(run["langevin_path_population"].values[0])  # measured at another length
    assert "leaves no topic out" in run.records("langevin_path")[1].why_invalid["units_left_out"]


def test_a_start_that_saw_the_units_makes_the_path_invalid(certified):
    run = certified([{"kind": "langevin-path"}], **PRIOR, **descent(steps=2, subset_topics=2, subset_sequences=5))
    known, fresh = run.records("langevin_path")
    assert "start weights" in known.why_invalid["prior_frozen_before_eval"]
    assert fresh.valid  # of those topics the prior has seen nothing


@pytest.mark.parametrize("data", [{"sequences": 19}, {"topics": 2}])
def test_units_that_repeat_what_the_prior_has_seen_were_not_left_out(certified, data):
    source = {"kind": "violations", "source": {"kind": "markov", "vocabulary": 4}, "duplicates": 0.9}
    prior = {"prior": {"data": data, "trainer": {"kind": "accelerate", "steps": 2}}}
    metrics = [
        {"kind": "langevin-path"},
        {"kind": "pacbayes", "pulls": [0.0], "draws": 2, "passes": 1},
        {"kind": "paper-bound", "mode": "strict", "draws": 2, "passes": 1},
    ]
    run = certified(metrics, source=source, **prior, **descent(steps=2))
    for name in ("langevin_path", "pacbayes", "paper_bound"):
        records = [one for one in run.records(name) if np.isfinite(one.value)]
        assert [("split_disjoint" in one.why_invalid) for one in records] == ["sequences" in data], name


def test_buffers_that_changed_in_training_make_the_path_inexact(run):
    still, moved = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    moved(torch.randn(4, 3))
    assert langevin_path._same_buffers(still, torch.nn.BatchNorm1d(3))
    assert not langevin_path._same_buffers(moved, still)
    assert all(record.checks["kernel_exact"] for record in run.records("langevin_path"))


def test_a_prior_of_endless_sequences_leaves_later_topics_out(certified):
    prior = {"prior": {"data": {"topics": 2, "sequences": "fresh"}, "trainer": {"kind": "accelerate", "steps": 5}}}
    metric = {"kind": "pacbayes", "draws": 4, "passes": 1, "targets": ["topics"]}
    run = certified([metric], **prior, trainer={"steps": 2, "snapshots": []})
    assert all(record.valid and record.n_units == 2 for record in run.records("pacbayes"))


def test_the_sheet_tells_of_which_networks_the_least_loss_is_meant(run):
    records = run.records("optimisation_error")
    told = [" ".join(sheet(record).split()) for record in records]
    assert told and all(
        f"can reach with weights of {record.components['bits']} bits" in text
        for record, text in zip(records, told, strict=True)
    )


def test_a_path_without_a_subset_has_nothing_to_say(certified):
    run = certified([{"kind": "langevin-path"}, {"kind": "lower-bound"}], **descent(steps=2))
    assert "J is all data" in run["langevin_path_not_applicable"].item()


def test_initial_weights_that_no_data_entered_shorten_the_code(certified):
    run = certified([{"kind": "compression", "bits": [8]}], **descent(steps=1, beta=1e9, subset_topics=2))
    start, end = ({n: v.detach().clone() for n, v in run.cell.models[s].module.named_parameters()} for s in (0, 1))
    cost = compression.quantise(end, 8, start).cost
    assert run["compression_cost"].item() == pytest.approx(cost)
    assert betting.upper_limit(np.full(80, 1.0), UPPER, 0.05, cost) <= UPPER


@pytest.mark.parametrize(
    ("metric", "changes", "told"),
    [
        ("langevin-path", {}, "the record path_kl"),
        ("langevin-path", {"data": {"topics": "fresh"}, **descent(batch_size=4)}, "data that end"),
        ("pacbayes", {}, "add a table [prior]"),
        ("paper-bound", {"data": {"sequences": "fresh"}, **PRIOR}, "data that end"),
        ("compression", {"data": {"sequences": "fresh"}}, "data that end"),
    ],
)
def test_what_they_need_is_told_before_training(refused, metric, changes, told):
    assert told in refused([{"kind": metric}], **changes)


def test_a_comparison_needs_held_out_data(refused):
    assert "held-out topics" in refused([{"kind": "langevin-path", "compare": True}], **descent(subset_topics=2))


def test_the_trainers_say_what_they_record(run):
    place = run.ground.folder
    trainer = run.plan.cells[0].config.trainer
    assert set(place.history()) == {"step", *trainer.spec.records(trainer.config)}
    prior = run.plan.cells[0].measured.training.prior
    trainer = prior.config.trainer
    history = type(place)(run.plan.folder / "trainings" / prior.id).history()
    assert set(history) == {"step", *trainer.spec.records(trainer.config)}
