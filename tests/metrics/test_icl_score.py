"""In-context learning in single numbers, against what arXiv 2505.18373 says of them exactly."""

import math

import numpy as np
import pytest

import iclkit
from iclkit.api import Uniform
from iclkit.errors import ConfigError

SCORE = [{"kind": "loss"}, {"kind": "icl-score"}]
SKEWED = {
    "source": {"kind": "coins", "biases": [1 / 3, 2 / 3], "weights": [0.9, 0.1]},
    "data": {"length": 200},
    "evaluation": {"sequences": 1000},
    "metrics": SCORE,
}


def population(ground):
    return ground.references.predictors["population"]


def test_a_topic_costs_the_optimum_the_logarithm_of_its_weight(measured):
    data = measured(population, SKEWED).sel(split="topics")
    limit = data["topic_cost_limit"]
    np.testing.assert_allclose(limit, [0.1053605, 2.3025851], atol=1e-7)
    assert (abs(data["topic_cost"] - limit) < 4 * data["topic_cost_se"]).all()
    assert (data["topic_cost_se"] < [0.02, 0.4]).all()
    np.testing.assert_allclose(data["topic_cost"], data["topic_cost_optimum"], rtol=1e-10)


def test_the_topics_losses_are_the_loss_by_weight(measured):
    data = measured(population, SKEWED).sel(split="topics")
    assert data["topic_loss"].dims == ("topic", "position")
    np.testing.assert_allclose([0.9, 0.1] @ data["topic_loss"].values, data["loss"].values)
    assert data["topic_loss"].sel(topic=2, position=1).item() == pytest.approx(
        -(2 / 3) * math.log(0.9 / 3 + 0.2 / 3) - (1 / 3) * math.log(0.6 + 0.1 / 3)
    )


def test_score_and_area_are_those_of_the_optimum_and_nothing_is_learned_by_what_does_not_learn(measured):
    data = measured(population, SKEWED).sel(split="topics")
    exact = data["optimum"].sel(reference="population")
    score = float(exact[-20:].mean() - exact[:20].mean())
    assert abs(data["icl_score"].item() - score) < 4 * data["icl_score_se"].item()
    assert data["icl_score"].item() == data["icl_score_floor"].sel(reference="population").item()
    assert abs(data["loss_area"] - data["loss_area_optimum"]) < 4 * data["loss_area_se"]
    weights = np.array([0.9, 0.1])
    assert data["excess_entropy"].item() == pytest.approx(-(weights @ np.log(weights)), abs=1e-4)  # H[C]
    assert data["loss_area_optimum"].item() == pytest.approx(data["excess_entropy"].item(), abs=1e-3)
    none = measured(lambda ground: Uniform(2), SKEWED).sel(split="topics")
    assert none["icl_score"].item() == pytest.approx(0, abs=1e-12)
    assert none["loss_area"].item() == pytest.approx(0, abs=1e-12)


def test_windows_are_those_asked_for(measured):
    tables = SKEWED | {"metrics": [{"kind": "loss"}, {"kind": "icl-score", "early": [2, 3], "late": [10, 12]}]}
    data = measured(population, tables).sel(split="topics")
    expected = data["loss"][9:12].mean() - data["loss"][1:3].mean()
    assert data["icl_score"].item() == pytest.approx(expected.item())


def test_windows_begin_with_what_is_scored(measured):
    """Prompts of x and y: only the answers y count, at every other position."""
    tables = {
        "source": {"kind": "linear-regression", "dimension": 2},
        "data": {"length": 12},
        "metrics": [{"kind": "loss"}, {"kind": "icl-score"}],
    }
    data = measured(population, tables).sel(split="topics")
    loss = data["loss"].dropna("position")
    assert len(loss) == 6
    assert data["icl_score"].item() == pytest.approx((loss[-1] - loss[0]).item())
    assert data["loss_area"].item() == pytest.approx(float((loss - loss[-1]).sum()))


def test_topics_are_told_apart_where_they_are_few_and_known(measured):
    drawn = {"source": {"kind": "coins", "alpha": 1.0, "beta": 1.0}, "metrics": SCORE}
    known = measured(population, drawn | {"data": {"topics": 3, "length": 8}})
    assert known["topic"].values.tolist() == [1, 2, 3]
    assert known["topic_loss"].sel(split="sequences").notnull().all()
    assert known["topic_loss"].sel(split="topics").isnull().all()
    np.testing.assert_allclose(known["topic_cost_limit"], math.log(3))
    many = measured(population, drawn | {"data": {"topics": 21, "length": 8}})
    assert "topic_loss" not in many
    fresh = measured(population, drawn | {"data": {"length": 8}})
    assert "topic" not in fresh.dims
    assert "icl_score" in fresh


def test_topics_outside_the_ensemble_cost_what_theory_says(measured):
    """arXiv 2505.18373 as the project's sheet has it: .7520 against .6931, and .6827 against .6730 nats."""
    outside = {"kind": "coins", "biases": [0.5, 0.6]}
    tables = SKEWED | {
        "source": {"kind": "coins", "biases": [1 / 3, 2 / 3]},
        "metrics": [{"kind": "icl-score", "outside": outside, "outside_sequences": 200}],
    }
    data = measured(population, tables)
    np.testing.assert_allclose(data["outside_limit"], [0.7520, 0.6827], atol=5e-5)
    np.testing.assert_allclose(data["outside_floor"].sel(position=200), [0.6931, 0.6730], atol=5e-5)
    np.testing.assert_array_equal(data["outside_loss"], data["outside_optimum"])
    assert data["outside_loss"].sel(outside_topic=2, position=200).item() == pytest.approx(0.6827, abs=1e-3)
    assert (data["outside_loss_se"].sel(position=1) < 1e-12).all()
    late = data["outside_loss"].sel(outside_topic=1, position=200)  # the fair coin: evidence still wanders
    assert 0.6931 < late < 0.7520


def test_outside_a_drawn_ensemble_nothing_is_nearest(measured):
    outside = {"kind": "coins", "alpha": 5.0, "beta": 5.0}
    tables = {
        "source": {"kind": "coins", "alpha": 1.0, "beta": 1.0},
        "data": {"length": 8},
        "metrics": [{"kind": "icl-score", "outside": outside, "outside_topics": 3, "outside_sequences": 2}],
    }
    data = measured(population, tables)
    assert data["outside_loss"].shape == (3, 8)
    assert data["outside_limit"].isnull().all()
    assert (data["outside_loss"] >= data["outside_floor"]).all()


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"late": [500, 500]}, "the late window ends at position 500, sequences at 8"),
        ({"outside": {"kind": "mess3"}}, "choose an outside source of the same tokens"),
    ],
)
def test_what_has_no_meaning_is_left_out_with_the_reason(table, reason):
    source = iclkit.source("coins", biases=[0.2, 0.9])
    data = iclkit.measure(Uniform(2), source, ["loss", {"kind": "icl-score", **table}], length=8, sequences=8)
    assert reason in data["icl_score_not_applicable"].item()
    assert "icl_score" not in data
    assert "loss" in data


def test_text_has_a_score_without_references(measured, text):
    data = measured(lambda ground: Uniform(256), text | {"metrics": SCORE})
    assert float(abs(data["icl_score"]).max()) == pytest.approx(0, abs=1e-12)
    assert data["excess_entropy"].isnull().all()


def test_a_wrong_window_is_told_before_anything_runs():
    with pytest.raises(ConfigError, match="first and the last position"):
        iclkit.measure(Uniform(2), "mess3", [{"kind": "icl-score", "early": [3]}])
