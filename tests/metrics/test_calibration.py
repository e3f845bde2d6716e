"""Reliability and entropy of predictors that are as sure as they should be, too sure, and not sure enough."""

import math

import numpy as np
import pytest
import torch

from iclkit.api import CategoricalDistribution, Uniform
from iclkit.errors import ConfigError

COINS = {
    "source": {"kind": "coins", "biases": [0.2, 0.5, 0.9]},
    "data": {"topics": 3, "sequences": 400, "length": 8},
    "evaluation": {"sequences": 1200},
    "metrics": [{"kind": "loss"}, {"kind": "calibration"}],
}


class Always:
    """Heads with one probability, whatever has come."""

    def __init__(self, heads):
        self._log_probs = torch.tensor([1 - heads, heads], dtype=torch.float64).log()

    def log_prob(self, batch):
        return self._log_probs[batch.tokens]

    def distribution(self, batch):
        return CategoricalDistribution(self._log_probs.repeat(*batch.tokens.shape, 1))


def test_the_optimum_is_calibrated_to_within_its_noise(measured):
    data = measured(lambda ground: ground.references.predictors["mixture"], COINS, train=True)
    gap = abs(data["calibration_accuracy"] - data["calibration_confidence"])
    held = data["calibration_share"] > 0.01
    assert held.sum() > 10
    assert (gap <= 4 * data["calibration_accuracy_se"] + 1e-9).where(held, True).all()
    assert (data["calibration_error"] < 3 * data["calibration_noise"]).all()
    np.testing.assert_allclose(data["calibration_share"].sum("bin"), 1)
    assert float(abs(data["entropy_excess"]).max()) < 1e-12
    for name in ("calibration_accuracy", "calibration_error"):
        assert data[name].attrs["ancillary_variables"] == f"{name}_se"
        assert data[f"{name}_se"].attrs["units"] == data[name].attrs["units"] == "1"


def test_a_predictor_that_is_too_sure_has_the_known_error(measured):
    """Heads with .95, which come in (.2 + .5 + .9) / 3: one bin, .95 - .5333."""
    data = measured(lambda ground: Always(0.95), COINS).sel(split="sequences")
    share = data["calibration_share"]
    assert share.sel(bin=0.95).item() == 1
    assert share.sum().item() == 1
    assert data["calibration_confidence"].sel(bin=0.95).item() == pytest.approx(0.95)
    assert data["calibration_accuracy"].sel(bin=0.95).item() == pytest.approx(1.6 / 3)
    assert data["calibration_error"].item() == pytest.approx(0.95 - 1.6 / 3)
    assert np.isnan(data["calibration_accuracy"].sel(bin=0.55))


def test_realised_hits_are_counted_on_train(measured, cell_of):
    data = measured(lambda ground: Always(0.72), COINS, train=True).sel(split="train")
    ground = cell_of(lambda ground: Always(0.72), COINS, train=True)
    train = next(split for split in ground.splits if split.name == "train").chunk(slice(None))
    heads = float(train.tokens.double().mean())
    assert data["calibration_accuracy"].sel(bin=0.75).item() == pytest.approx(heads)
    assert data["calibration_accuracy_se"].sel(bin=0.75).item() > 0


def test_entropy_above_the_optimum_is_what_the_definition_says(measured):
    data = measured(lambda ground: Uniform(2), COINS).sel(split="sequences")
    np.testing.assert_allclose(data["predictive_entropy"], math.log(2))
    exact = math.log(2) - data["optimum"].sel(reference="mixture")
    assert (abs(data["entropy_excess"] - exact) < 4 * data["entropy_excess_se"] + 1e-12).all()
    assert data["entropy_excess"][1:].min() > 0.01


def test_bins_are_as_many_as_asked_for(measured):
    tables = COINS | {"metrics": [{"kind": "calibration", "bins": 4}]}
    data = measured(lambda ground: Always(1.0), tables)
    assert data["bin"].values.tolist() == [0.125, 0.375, 0.625, 0.875]
    assert (data["calibration_share"].sel(bin=0.875) == 1).all()


def test_every_token_can_be_checked(measured):
    """Heads with .7 means tails with .3, which come in .5333 and .4667: an error of .1667 each."""
    edges = [0.0, 0.1, 0.5, 1.0]
    tables = COINS | {"metrics": [{"kind": "calibration", "tokens": "all", "edges": edges}]}
    data = measured(lambda ground: Always(0.7), tables).sel(split="sequences")
    np.testing.assert_allclose(data["bin"], [0.05, 0.3, 0.75])
    np.testing.assert_array_equal(data["calibration_share"], [0, 1, 1])
    np.testing.assert_allclose(data["calibration_confidence"][1:], [0.3, 0.7])
    np.testing.assert_allclose(data["calibration_accuracy"][1:], [1.4 / 3, 1.6 / 3])
    assert data["calibration_error"].item() == pytest.approx(2 * (0.7 - 1.6 / 3))


def test_edges_must_ascend_from_0_to_1(measured):
    with pytest.raises(ConfigError, match=r"edges: expected ascending numbers from 0.0 to 1.0"):
        measured(
            lambda ground: Uniform(2), COINS | {"metrics": [{"kind": "calibration", "edges": [0.0, 0.6, 0.5, 1.0]}]}
        )


def test_real_tokens_have_entropies_alone(measured):
    tables = {"source": {"kind": "lds", "dimension": 2}, "data": {"length": 4}, "metrics": [{"kind": "calibration"}]}
    data = measured(lambda ground: ground.references.predictors["oracle"], tables)
    assert "calibration_error" not in data
    np.testing.assert_allclose(data["predictive_entropy"], math.log(2 * math.pi * math.e))  # two, of scale 1
    assert "entropy_excess" not in data  # the population's prediction has no closed form


def test_text_is_calibrated_on_realised_tokens(measured, text):
    data = measured(lambda ground: Uniform(256), text | {"metrics": [{"kind": "calibration"}]})
    np.testing.assert_allclose(data["calibration_confidence"].sel(bin=0.05), 1 / 256)
    assert "entropy_excess" not in data
