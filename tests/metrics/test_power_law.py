"""The in-context loss of coins falls by the power law that theory says, with intervals that hold it."""

import numpy as np
import pytest
import torch

import iclkit
from iclkit.api import Uniform

FIT = {"kind": "power-law", "parameters": 1}
BETA = {
    "source": {"kind": "coins", "alpha": 1.0, "beta": 1.0},
    "data": {"length": 64},
    "evaluation": {"sequences": 512},
    "metrics": [FIT],
}


def optimum(split):
    return lambda ground: ground.references.predictors["population" if split == "topics" else "mixture"]


def test_the_optimum_of_fresh_coins_has_its_exact_curve_within_its_interval(measured):
    inside, exponents, advantages = 0, [], []
    for seed in range(12):
        data = measured(optimum("topics"), BETA | {"seed": seed}).sel(split="topics")
        low, high = data["power_law_exponent_interval"].values
        exact = data["power_law_optimum_exponent"].item()
        assert exact == pytest.approx(0.88, abs=0.02)  # not 1: the range is far from the limit
        assert low < data["power_law_exponent"].item() < high
        inside += low <= exact <= high
        exponents.append(data["power_law_exponent"].item())
        advantages.append(data["power_law_advantage"].item())
    assert inside >= 9  # of 12 at 95 %
    assert np.mean(exponents) == pytest.approx(0.88, abs=0.05)
    assert np.mean(advantages) > 0


def test_the_curve_is_the_loss_above_the_mean_entropy_rate(measured):
    """l (h_l - 1/2) of the uniform coin: .193, .273, .318, and .418 at l = 10 (arXiv 2505.18373, 2.3)."""
    tables = BETA | {"evaluation": {"sequences": 4096}, "data": {"length": 24}}
    data = measured(optimum("topics"), tables).sel(split="topics")
    for position, product in ((1, 0.193), (2, 0.273), (3, 0.318), (10, 0.418)):
        assert position * data["power_law_optimum"].sel(position=position).item() == pytest.approx(product, abs=6e-4)
    off = abs(data["power_law_curve"] - data["power_law_optimum"])
    assert (off < 4.5 * data["power_law_curve_se"] + 1e-12).all()
    np.testing.assert_allclose(data["power_law_floor"], data["power_law_curve"], atol=1e-12)
    ratio = np.exp(np.log(2 * data["position"] * data["power_law_curve"])[7:12].mean())
    assert data["power_law_ratio"].item() == pytest.approx(ratio.item())
    assert np.isnan(data["power_law_advantage"].item())  # five positions predict nothing


def test_few_coins_are_told_apart_exponentially(measured):
    tables = BETA | {"source": {"kind": "coins", "biases": [0.25, 0.75]}, "data": {"length": 80}}
    data = measured(optimum("topics"), tables).sel(split="topics")
    assert data["power_law_advantage"].item() < -0.5
    assert data["power_law_preferred"].item() < 0.1


@pytest.mark.parametrize("split", ["sequences", "topics"])
def test_intervals_hold_the_same_curve_of_other_sequences(measured, split):
    """Of few topics with several sequences each: what was sampled is drawn anew, topics or sequences."""
    tables = BETA | {"data": {"topics": 16, "length": 32}, "evaluation": {"sequences": 256, "topics": 32}}
    found = [measured(optimum(split), tables | {"seeds": {"evaluation": seed}}).sel(split=split) for seed in range(12)]
    exponents = np.array([data["power_law_exponent"].item() for data in found])
    widths = np.array([np.ptp(data["power_law_exponent_interval"].values) for data in found])
    spread = exponents.std(ddof=1) * 2 * 1.96
    assert 0.5 < np.median(widths) / spread < 2.5


def test_nothing_to_fit_is_nan(measured):
    data = measured(lambda ground: ground.references.predictors["oracle"], BETA).sel(split="topics")
    assert float(abs(data["power_law_curve"]).max()) < 1e-12
    for name in ("exponent", "coefficient", "advantage", "positions", "ratio"):
        assert data[f"power_law_{name}"].isnull()


@pytest.mark.parametrize("source", [{"kind": "ginc", "symbols": 10}, {"kind": "lds", "dimension": 2}])
def test_the_rate_is_taken_from_the_sequences_where_it_is_not_known(measured, source):
    tables = BETA | {"source": source, "data": {"length": 24, "topics": 2}, "evaluation": {"sequences": 16}}
    data = measured(lambda ground: ground.references.predictors["mixture"], tables)
    assert data["power_law_curve"].sel(split="sequences").notnull().sum() > 8


@pytest.mark.parametrize(
    ("table", "reason"),
    [({"first": 20, "last": 40}, "the range 20 .. 40 has 0 positions of 8"), ({}, "needs 3; set `first` and `last`")],
)
def test_a_range_beyond_the_context_is_told(table, reason):
    source = iclkit.source("coins", biases=[0.2, 0.9])
    data = iclkit.measure(Uniform(2), source, [{"kind": "power-law", **table}], length=8, sequences=8)
    assert reason in data["power_law_not_applicable"].item()


def test_without_an_oracle_it_does_not_apply(measured, text):
    data = measured(lambda ground: Uniform(256), text | {"metrics": [FIT]})
    assert "no oracle" in data["power_law_not_applicable"].item()


def test_weights_are_poisson_and_a_function_of_the_address(cell_of):
    from iclkit_metrics.power_law.metric import PowerLaw

    ground = cell_of(optimum("topics"), BETA)
    metric = PowerLaw(ground.config.metrics[0].config)
    metric.begin(ground.cell(ground.config.metrics[0]))
    (split,) = ground.splits
    whole = metric._weights(ground.batch(split, slice(0, 512)))
    part = metric._weights(ground.batch(split, slice(100, 130)))
    assert torch.equal(whole[100:130], part)
    assert whole.mean().item() == pytest.approx(1, abs=0.02)
    assert whole.var().item() == pytest.approx(1, abs=0.04)
