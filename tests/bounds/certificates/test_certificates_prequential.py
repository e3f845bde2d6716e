"""The prequential certificate: stages between snapshots, each scored before it is trained on."""

import numpy as np
import pytest
import torch

from iclkit.api import NotApplicable
from iclkit_bounds import prequential, smoothing
from iclkit_bounds.certificates.prequential import Stage, scored_stages

FRESH = {"topics": "fresh", "sequences": "fresh"}
METRIC = {"kind": "prequential", "share": 0.7, "sequences": 100000, "least_loss": 0.2}


@pytest.fixture(scope="module")
def run(certified):
    """One pass over fresh topics; certified are the snapshots after 10 and 20 of 30 updates."""
    return certified([METRIC], data=FRESH)


def test_stages_are_those_of_the_last_part_and_share_the_sequences_out():
    assert scored_stages((0, 10, 20, 30), 16, 0.5, 100) == [Stage(start=20, end=30, scored=100)]
    stages = scored_stages((0, 10, 40), 2, 1.0, 40)
    assert stages == [Stage(start=0, end=10, scored=10), Stage(start=10, end=40, scored=30)]
    assert [stage.scored for stage in scored_stages((0, 1, 9), 4, 1.0, 1000)] == [4, 32]
    with pytest.raises(NotApplicable, match="no snapshot but the last"):
        scored_stages((0, 30), 16, 0.5, 100)


def test_lower_population_and_value_are_in_order(run):
    assert run["target"].values.tolist() == ["topics"]
    run.check_sandwich("prequential")
    (record,) = run.records("prequential")
    assert record.valid
    assert record.certified_object == "checkpoint-mixture"


def test_the_value_is_that_of_the_snapshots_on_what_came_next(run):
    cell, stages = run.cell, []
    for start in (10, 20):
        tokens = [cell.training.batch(step, 16) for step in range(start, start + 10)]
        sums = torch.cat([cell.models[start].log_prob(batch).sum(1) for batch in tokens])
        stages.append(smoothing.seq_mix(sums.numpy(), 12, 4, 0.1))
    value = prequential.staged([stage.losses for stage in stages], stages[0].upper, 0.2, 0.05)
    assert run["prequential"].item() == pytest.approx(float(value))
    assert run.records("prequential")[0].n_units == 320
    weights = run["prequential_weight"].sel(target="topics").dropna("step")
    assert weights["step"].values.tolist() == [10, 20]
    assert weights.values.tolist() == [0.5, 0.5]


def test_its_population_loss_is_the_mixture_s(run):
    cell = run.cell
    sums = [cell.log_probs("topics", step).values.sum(1).numpy() for step in (10, 20)]
    losses = smoothing.seq_mix(np.logaddexp(*sums) - np.log(2), 12, 4, 0.1).losses
    assert run["prequential_population"].item() == pytest.approx(losses.mean())


@pytest.fixture(scope="module")
def dice(certified):
    """A loaded and a fair die; every sequence draws one of them."""
    source = {"kind": "dice", "faces": [[0.25, 0.25, 0.25, 0.25], [0.3, 0.3, 0.2, 0.2]], "weights": [0.7, 0.3]}
    return certified([METRIC, {"kind": "token-bound", "bits": 1, "sequences": 400}], data=FRESH, source=source)


def test_listed_topics_that_are_drawn_by_weight_are_lawful_units(dice):
    dice.check_sandwich("prequential")
    (record,) = dice.records("prequential")
    assert record.valid
    assert record.unit == "sequence"


def test_the_token_bound_is_the_entropy_and_the_hellinger_term(dice):
    (record,) = dice.records("token_bound")
    cell, tokens = dice.cell, 400 * 12
    assert record.n_units == tokens
    parts = [cell.training.batch(step, 16) for step in range(25)]
    oracle = cell.source.oracle()
    realised = -float(torch.cat([oracle.log_prob(batch) for batch in parts]).mean())
    entropy = float(torch.cat([oracle.distribution(batch).entropy for batch in parts]).mean())
    excess = record.components["emp_loss"] - realised
    squares = excess + 2 * (record.components["complexity_nats"] + np.log(20)) / tokens
    value = dice["token_bound"].item()
    assert value == pytest.approx(entropy + (2 + np.log(4 / 0.01)) * squares)
    assert dice["token_bound_lower"].item() == pytest.approx(entropy)
    assert dice["token_bound_population"].item() < value < np.log(4 / 0.01)


def test_fresh_sequences_of_known_topics_certify_those(certified):
    run = certified([METRIC | {"sequences": 80}], data={"topics": 3, "sequences": "fresh"})
    assert run["target"].values.tolist() == ["sequences"]
    run.check_sandwich("prequential")
    (record,) = run.records("prequential")
    assert record.valid
    assert record.n_units == 80


def test_one_sequence_of_each_topic_certifies_topics(certified):
    run = certified([METRIC], data={"topics": 480, "sequences": 1})
    assert run["target"].values.tolist() == ["topics"]
    assert run["prequential_valid"].item() == 1


def test_listed_topics_that_run_out_are_no_draws_by_weight(certified):
    source = {"kind": "dice", "faces": [[0.25, 0.25, 0.25, 0.25], [0.3, 0.3, 0.2, 0.2]]}
    run = certified([METRIC], source=source, data={"topics": "fresh", "sequences": 240})
    (record,) = run.records("prequential")
    assert "topics run out" in record.why_invalid["units_independent"]


def test_a_scored_sequence_that_repeats_an_earlier_one_was_trained_on_before(certified):
    """A single one is scored, so that no two scored ones can be the same."""
    source = {"kind": "violations", "source": {"kind": "markov", "vocabulary": 4}, "duplicates": 0.9}
    run = certified([METRIC | {"sequences": 1}], source=source, data={"topics": 1, "sequences": "fresh"})
    (record,) = run.records("prequential")
    assert record.n_units == 2  # of each stage
    assert list(record.why_invalid) == ["one_pass"]


@pytest.mark.parametrize(
    ("data", "prior", "check", "told"),
    [
        ({"topics": "fresh", "sequences": 3}, None, "units_independent", "topics come back"),
        ({"topics": 4, "sequences": 120}, None, "units_independent", "topics run out"),
        (FRESH, {"trainer": {"steps": 2, "snapshots": 0}}, "one_pass", "prior was trained on some"),
    ],
)
def test_what_breaks_the_order_of_scoring_and_training_is_not_valid(certified, data, prior, check, told):
    changes = {"data": data} | ({} if prior is None else {"prior": prior})
    run = certified([METRIC], **changes)
    (record,) = run.records("prequential")
    assert list(record.why_invalid) == [check]
    assert told in record.why_invalid[check]


def test_a_second_pass_is_refused_before_training(refused):
    assert "meets no sequence twice; 480 are asked for and there are 80" in refused([METRIC])
