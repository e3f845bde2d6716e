import json
import math

import numpy as np
import pytest

import iclkit
from iclkit import plan, theory
from iclkit.errors import ConfigError

MR_NAME_FLOOR = {1: 1.44519, 2: 0.95140, 3: 0.95140, 4: 0.92252, 5: 0.90086, 8: 0.86329, 10: 0.85130, 30: 0.83593}


def test_mr_name_is_what_the_paper_says():
    data = iclkit.explain("mr-name", length=100)
    for position, value in MR_NAME_FLOOR.items():
        assert data["myopic_entropy"].sel(position=position).item() == pytest.approx(value, abs=1e-5)
    assert data["entropy_rate"].item() == pytest.approx(0.835876, abs=1e-6)
    assert data["excess_entropy"].item() == pytest.approx(1.186932, abs=1e-6)
    assert data["block_entropy"].sel(position=100).item() == pytest.approx(100 * 0.847746, abs=1e-4)
    plateaus = data["plateaus"].to_series()
    assert plateaus["uniform"] == pytest.approx(1.6094, abs=5e-5)
    assert plateaus["unigram"] == pytest.approx(1.4452, abs=5e-5)
    assert plateaus["bigram"] == pytest.approx(0.9514, abs=5e-5)
    assert data["topics_identified_at"].sel(share=0.5).item() == 3  # f_1 + f_2 + f_3 = 1/2


def test_what_a_topic_costs_is_what_it_takes_to_know_it():
    data = iclkit.explain({"kind": "coins", "biases": [1 / 3, 2 / 3]}, length=400)
    assert data["excess_entropy"].item() == pytest.approx(math.log(2), abs=1e-6)
    assert data["topic_entropy"].isel(position=-1).item() == pytest.approx(0, abs=1e-6)
    half, hundredth = data["topics_identified_at"].values
    assert 1 < half < hundredth < 400
    assert data["predicted_icl"].sel(reference="oracle").item() == 0


def test_known_topics_have_a_mixture_and_fresh_ones_a_population():
    known = iclkit.explain("coins", length=20, topics=3)
    fresh = iclkit.explain("coins", length=20)
    assert known["reference"].values.tolist() == ["oracle", "mixture"]
    assert fresh["reference"].values.tolist() == ["oracle", "population"]
    assert fresh["entropy_rate"].item() == pytest.approx(0.5, abs=1e-12)  # E[H_b(p)], p uniform
    assert "topics_identified_at" in known
    assert "topics_identified_at" not in fresh


@pytest.mark.parametrize("source", [{"kind": "even"}, {"kind": "coins", "biases": [0.2, 0.7]}, {"kind": "mr-name"}])
def test_sampling_agrees_with_what_is_exact(source, found, monkeypatch):
    tables = {"source": source, "data": {"length": 12}}
    config = plan.load(None, tables, found).cells[0].config
    exact = theory.explain(config)
    built = type(config.source.build())
    monkeypatch.setattr(built, "optimum", lambda *law: None)
    sampled = theory.explain(config, tolerance=2e-3)
    assert "monte-carlo" in sampled["myopic_entropy"].attrs["method"]
    away = abs(sampled["floor"] - exact["floor"])
    assert (away <= 5 * sampled["floor_error"] + 1e-12).all()
    assert (sampled["floor_error"] <= 2e-3).all()
    assert (sampled["floor_error"].sel(reference="population", position=slice(2, None)) > 0).all()


def test_beyond_its_beliefs_mess3_is_sampled():
    data = iclkit.explain({"kind": "mess3", "x": 0.15, "a": 0.6}, length=16, tolerance=2e-4)
    floor, error = data["myopic_entropy"], data["myopic_entropy_error"]
    assert data["myopic_entropy"].attrs["method"] == "belief-enumeration then monte-carlo"
    np.testing.assert_allclose(floor[:5], [1.098612, 1.091068, 1.089391, 1.089004, 1.088915], atol=1e-6)
    assert (abs(floor[12:] - 1.088888) <= 5 * error[12:] + 1e-6).all()
    assert error[12:].max() <= 2e-4


def test_json_is_plain_and_says_how_each_number_was_made():
    told = theory.as_json(iclkit.explain("golden-mean", length=6))
    assert json.loads(json.dumps(told)) == told
    assert told["entropy_rate"] == pytest.approx(0.462098, abs=1e-6)
    assert len(told["myopic_entropy"]) == len(told["error"]["myopic_entropy"]) == 6
    for quantity in ("entropy_rate", "myopic_entropy", "excess_entropy", "block_entropy", "predicted_icl", "plateaus"):
        assert quantity in told
        assert quantity in told["method"]
        assert quantity in told["error"]


def test_bad_settings_are_config_errors():
    with pytest.raises(ConfigError, match=r"source\.p"):
        iclkit.explain({"kind": "golden-mean", "p": 2.0})
    with pytest.raises(ConfigError, match="no source is called"):
        iclkit.explain("golden-meen")
