"""A planted change point is found within its interval, and its plateaus have the right names."""

import numpy as np
import pytest
import torch
from attrs import evolve

from iclkit import engine, plan, plugins
from iclkit.api import NotApplicable
from iclkit.cube import open_cube
from iclkit.measured import GivenModel, Ground
from iclkit_metrics.emergence.curves import groups, mean_curve, predictor_losses
from iclkit_metrics.emergence.metric import Emergence
from iclkit_metrics.emergence.spec import Emergence as Config

TABLES = {
    "source": {"kind": "mr-name"},
    "data": {"length": 16, "topics": 2, "sequences": 1},
    "evaluation": {"sequences": 64},
    "metrics": [{"kind": "emergence"}],
}


@pytest.fixture(scope="module")
def cell():
    config = plan.load(None, TABLES, plugins.load()).cells[0].config
    return Ground(config, GivenModel(None, config), None).cell(config.metrics[0])


def emerged(cell, history, **config):
    return Emergence(Config(**config)).finish(evolve(cell, history=history))


def planted(low, middle, steps, rng, first, second):
    """From `low` at all positions to `middle` of the way, at steps `first` and `second`."""
    fall = 1 / (1 + np.exp(-(np.log1p(steps) - np.log1p(first)) / 0.03))
    again = 1 / (1 + np.exp(-(np.log1p(steps) - np.log1p(second)) / 0.03))
    curve = (
        low["uniform"]
        + fall[:, None] * (low[middle] - low["uniform"])
        + again[:, None] * (low["mixture"] - low[middle])
    )
    return curve + 0.003 * rng.standard_normal(curve.shape)


def test_planted_changes_and_plateaus_are_found(cell):
    steps = np.arange(0, 2000, 4)
    blank = {"step": steps, "loss": np.zeros((len(steps), 16))}
    table = emerged(cell, blank)["predictor_loss"].sel(positions="all")
    known = {name: float(table.sel(predictor=name)) for name in table["predictor"].values}
    level = {name: np.full(16, known[name]) for name in ("uniform", "static-unigram", "mixture")}
    history = {"step": steps, "loss": planted(level, "static-unigram", steps, np.random.default_rng(0), 50, 700)}
    data = emerged(cell, history)
    whole = data.sel(positions="all")
    assert whole["change_step"].values[:2] == pytest.approx([50, 700], rel=0.05)
    assert np.isnan(whole["change_step"].values[2:]).all()
    for place, step in enumerate((50, 700)):
        assert whole["change_low"][place] <= step <= whole["change_high"][place]
    heights = np.diff([known[name] for name in ("uniform", "static-unigram", "mixture")])
    np.testing.assert_allclose(whole["change_height"][:2], heights, rtol=0.05)
    assert whole["plateau_predictor"].values.tolist()[:3] == ["uniform", "static-unigram", "mixture"]
    assert (abs(whole["plateau_distance"][:3]) < 0.01).all()
    assert data["stages"].item().startswith("uniform (1.6")
    shown = data.sel(positions="all").dropna("moment")
    assert shown.sizes["moment"] <= 200
    np.testing.assert_allclose(
        shown["record_curve"],
        np.interp(np.log1p(shown["record_step"]), np.log1p(steps), history["loss"].mean(1)),
        atol=0.05,
    )
    assert data["positions"].values.tolist() == ["all", "1", "2-3", "4-7", "8-15", "16"]


def test_a_flat_record_has_no_change_and_a_chosen_predictor_is_the_nearest(cell):
    steps = np.arange(300)
    loss = np.full((300, 16), 1.0) + 0.01 * np.random.default_rng(1).standard_normal((300, 16))
    data = emerged(cell, {"step": steps, "loss": loss, "size": loss[:, 0]}, predictors=("uniform", "oracle"))
    assert data["stages"].item() == "no sudden change"
    assert data["predictor"].values.tolist() == ["uniform", "oracle"]
    assert np.isnan(data["change_step"]).all()
    other = emerged(cell, {"step": steps, "loss": loss, "size": loss[:, 0]}, record="size")
    assert other["positions"].values.tolist() == ["all"]
    assert other["record_curve"].attrs["record"] == "size"
    assert other["plateau_predictor"].values[0, 0] == ""
    assert "predictor_loss" not in other


def test_predictors_losses_are_those_of_the_sheet(cell):
    """arXiv 2505.18373: the plateaus of the name mixture lie at 1.4452 (unigram) and .9514 (bigram)."""
    steps = np.arange(20)
    table = emerged(cell, {"step": steps, "loss": np.zeros((20, 16))}, sequences=64)["predictor_loss"]
    unigram, bigram = (float(table.sel(positions="all", predictor=f"static-{name}")) for name in ("unigram", "bigram"))
    assert unigram == pytest.approx(1.4452, abs=0.02)
    assert float(table.sel(positions="8-15", predictor="static-bigram")) == pytest.approx(0.9514, abs=0.03)
    assert bigram < unigram


def test_what_rules_a_token_out_once_loses_infinitely(cell):
    class Never:
        def log_prob(self, batch):
            first = (batch.topic == 0) & (batch.number == batch.number[batch.topic == 0].min())
            ruled_out = first[:, None] & (torch.arange(batch.length) == 3)
            return torch.where(ruled_out, -torch.inf, -1.0).double()

        def distribution(self, batch):
            return None

    loss = predictor_losses(cell, "topics", {"never": Never()}, ("never",), 1000)["never"]
    assert np.isposinf(loss[3])
    assert np.isfinite(np.delete(loss, 3)).all()


def test_groups_of_positions():
    assert {name: (part.start, part.stop) for name, part in groups(5).items()} == {
        "all": (0, 5),
        "1": (0, 1),
        "2-3": (1, 3),
        "4-5": (3, 5),
    }
    assert list(groups(1)) == ["all"]
    np.testing.assert_array_equal(mean_curve(np.array([[1, np.nan, 3], [np.nan] * 3])), [2, np.nan])


def test_a_training_is_looked_at(tiny, planned, found):
    tiny["metrics"] = [{"kind": "emergence"}]
    tiny["trainer"]["steps"] = 40
    made = planned(tiny)
    engine.run(made, found).check()
    data = open_cube(made.folder).load()
    assert data["predictor_loss"].sel(predictor="uniform", positions="all").item() == pytest.approx(np.log(2))
    assert data["plateau_first"].sel(positions="all")[0, 0] == 0


def test_what_was_not_recorded_is_told(cell):
    with pytest.raises(NotApplicable, match="nothing is recorded as loss in this training; recorded: none"):
        emerged(cell, {})
    with pytest.raises(NotApplicable, match="no value of size is recorded"):
        emerged(cell, {"step": np.arange(9), "size": np.full(9, np.nan)}, record="size")
    with pytest.raises(NotApplicable, match="there is no predictor nonsense here; there are oracle, mixture, uniform"):
        emerged(cell, {"step": np.arange(9), "loss": np.zeros((9, 16))}, predictors=("nonsense",))
