"""`iclkit certify` end to end: every certificate is told apart, and what it is about is said rightly."""

import json

import pytest
from click.testing import CliRunner

from iclkit import cli, engine, plugins

METRICS = [{"kind": "holdout", "blocks": 2}, {"kind": "compression"}, {"kind": "lower-bound"}]


@pytest.fixture(scope="module")
def folder(certified):
    run = certified(METRICS, data={"holdout": {"topics": 12, "sequences": 20}})
    engine.run(run.plan, plugins.load()).check()
    return str(run.plan.folder)


def certify(*words):
    return CliRunner().invoke(cli.group, ["certify", *words])


def test_every_certificate_has_a_heading_of_its_own_and_says_what_it_is_about(folder):
    done = certify(folder)
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    headings = [line for line in done.output.splitlines() if line and not line.startswith(" ")]
    assert len(headings) == len(set(headings)) == 8
    assert "compression (grid_bits = 4): fresh sequences of the training topics" in headings
    assert "lower-bound (reference = oracle): fresh sequences of fresh topics" in headings
    assert "the last snapshot, mixed with the uniform predictor as told below, has a mean loss there of at most" in text
    assert "over the draw of the 12 held-out topics, the last snapshot, mixed" in text
    assert "the quantised last snapshot, mixed" in text
    assert text.count("the exact predictor has a mean loss there of at least") == 4


def test_json_has_the_same_names(folder):
    records = json.loads(certify(folder, "--json", "seed=0").output)
    assert [record["certificate"] for record in records if record["estimator"] == "compression"] == [
        "compression (grid_bits = 4)",
        "compression (grid_bits = 8)",
    ]
    assert sum(record["certificate"] == "holdout" for record in records) == 2


def test_a_cell_that_is_not_there_is_told(folder):
    done = certify(folder, "seed=3")
    assert (done.exit_code, "seed is one of 0" in done.output) == (2, True)


def test_a_cube_without_certificates_says_how_to_have_them(certified):
    run = certified([{"kind": "loss"}])
    engine.run(run.plan, plugins.load()).check()
    assert 'kind = "holdout"' in certify(str(run.plan.folder)).output
