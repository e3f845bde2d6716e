"""What a metric says does not depend on which others are measured with it, nor on their order or names."""

import numpy as np
import pytest
import torch

import iclkit
from iclkit.parts import joined
from iclkit_metrics.scored_positions import scored_positions, sum_over

COINS = {"source": {"kind": "coins", "biases": [0.2, 0.8]}, "data": {"length": 12}}
FEW = {"kind": "algorithm-mixture", "predictors": ["uniform", "population"]}


def population(ground):
    return ground.references.predictors["population"]


def measured_with(measured, *metrics):
    return measured(population, COINS | {"metrics": list(metrics)})


def test_the_nearest_predictor_is_named_whatever_predictors_another_metric_has(measured):
    alone = measured_with(measured, {"kind": "divergence"})
    together = measured_with(measured, FEW, {"kind": "divergence"})
    assert alone["nearest"].sel(split="topics").item() == "population"
    assert together["nearest"].equals(alone["nearest"])
    for name in alone["predictor"].values:
        assert together["distance"].sel(predictor=name).equals(alone["distance"].sel(predictor=name))


def test_two_metrics_of_one_kind_have_labels_of_their_own(measured):
    kinds = [
        ({"kind": "calibration", "bins": 5}, {"kind": "calibration", "bins": 2, "tokens": "all"}, "calibration_error"),
        ({"kind": "divergence"}, {"kind": "divergence", "largest_vocabulary": 0}, "nearest"),
        (
            {"kind": "power-law", "first": 2, "last": 11, "replicates": 9},
            {"kind": "power-law", "first": 3, "last": 11, "replicates": 4},
            "power_law_exponent",
        ),
    ]
    for first, second, name in kinds:
        both = measured_with(measured, first, second | {"name": "other"})
        assert both[name].equals(measured_with(measured, first)[name])
        alone = measured_with(measured, second)[name]
        np.testing.assert_array_equal(both[f"other_{name}"].values, alone.values)
        assert alone.dtype.kind != "f" or np.isfinite(alone).any()


def test_labels_keep_their_order_and_numbers_are_sorted():
    import xarray as xr

    some = xr.Dataset({"a": ("split", [1.0]), "b": ("step", [4.0])}, coords={"split": ["topics"], "step": [4]})
    more = xr.Dataset(
        {"c": (("split", "step"), np.ones((3, 2)))}, coords={"split": ["train", "topics", "other"], "step": [8, 2]}
    )
    both = joined([some, more])
    assert both["split"].values.tolist() == ["topics", "train", "other"]
    assert both["step"].values.tolist() == [2, 4, 8]
    assert both["a"].sel(split="topics").item() == 1
    assert np.isnan(both["a"].sel(split="train"))


def test_splits_come_in_order_where_one_has_no_optimum(measured):
    drawn = {"kind": "ginc", "entities": 3, "properties": 4, "symbols": 8}
    tables = {"source": drawn, "data": {"topics": 2, "length": 8}, "evaluation": {"sequences": 8}}
    data = measured(lambda ground: ground.references.predictors["oracle"], tables, train=True)
    assert data["split"].values.tolist() == ["train", "sequences", "topics"]
    assert np.isnan(data["relative_loss"].sel(split="topics")).all()


class Constant(torch.nn.Module):
    """A rule without weights: logits that do not change."""

    def forward(self, inputs):  # (B, T) -> (B, T, 2)
        return torch.zeros(*inputs.shape, 2)


def test_without_a_begin_token_scores_leave_position_1_out_of_references_too():
    data = iclkit.measure(Constant(), COINS["source"], ["loss", "icl-score"], length=12, sequences=64, bos=False)
    data = data.sel(split="topics")
    floor = data["floor"].sel(reference="population").values
    assert data["icl_score"].item() == pytest.approx(0, abs=1e-6)
    assert data["icl_score_floor"].sel(reference="population").item() == pytest.approx(floor[-1] - floor[1])
    area = (floor[1:] - floor[-1]).sum()
    assert data["loss_area_floor"].sel(reference="population").item() == pytest.approx(area)
    exact = data["optimum"].sel(reference="population").values
    assert data["loss_area_optimum"].item() == pytest.approx((exact[1:] - exact[-1]).sum())


def test_a_reference_is_averaged_over_the_sequences_it_does_not_rule_out(measured):
    never = {"source": {"kind": "coins", "biases": [0.5, 1.0]}, "data": {"topics": 1, "length": 6}}
    swapped = {"source": {"kind": "coins", "biases": [1.0, 0.5]}, "data": {"topics": 1, "length": 6}}
    for tables in (never, swapped):
        data = measured(population, tables | {"metrics": [{"kind": "icl-score"}], "evaluation": {"sequences": 64}})
        for name in ("icl_score_floor", "loss_area_floor"):
            assert not np.isinf(data[name]).any()
        assert np.isfinite(data["icl_score_floor"].sel(reference="population")).all()


def test_what_is_nowhere_defined_has_no_sum():
    values, mask = torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan]]), torch.ones(2, 2, dtype=torch.bool)
    np.testing.assert_array_equal(sum_over(values, mask), [1.0, np.nan])


def test_scored_positions_are_those_of_the_whole_split(cell_of):
    regression = {"source": {"kind": "linear-regression"}, "data": {"length": 6}, "metrics": [{"kind": "loss"}]}
    for tables, scored in ((regression, [False, True] * 3), (COINS, [True] * 12)):
        ground = cell_of(lambda ground: None, tables)
        cell = ground.cell(ground.config.metrics[0])
        assert scored_positions(cell, "topics").tolist() == scored


def test_a_probe_of_single_tokens_says_why_not(measured):
    source = {"kind": "mess3"}
    tables = {"source": source, "data": {"length": 1}, "metrics": [{"kind": "belief-probe"}]}
    data = measured(lambda ground: ground.references.predictors["oracle"], tables)
    assert "2 tokens at least" in data["belief_probe_not_applicable"].item()
