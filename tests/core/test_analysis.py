"""Comparing cells: tables, hand-made cubes with known answers, missing cells and wrong names."""

import math
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import iclkit
from iclkit.analysis import (
    phase_map,
    rank_correlation,
    scaling_fit,
    seed_interval,
    threshold_crossing,
)
from iclkit.student import t_quantile


@pytest.fixture
def cube():
    """Excess 3 topics^-0.5 with seeds that scatter, one missing cell, and fresh topics at infinity."""
    topics, seeds, steps = [1.0, 4.0, 16.0, 64.0, np.inf], [0, 1, 2, 3], [0, 10, 100, 1000]
    rng = np.random.default_rng(0)
    final = 3 * np.array([*np.array(topics[:-1]) ** -0.5, 0.001])
    scatter = 1 + 0.05 * rng.standard_normal((5, 4))
    values = final[:, None, None] * scatter[:, :, None] * np.array([8.0, 4, 2, 1])
    values[2, 1] = np.nan
    both = np.stack([values, 2 * values], axis=-1)
    return xr.Dataset(
        {"excess": (("topics", "seed", "step", "split"), both, {"units": "nat", "long_name": "above the optimum"})},
        coords={
            "topics": topics,
            "seed": seeds,
            "step": steps,
            "split": np.array(["sequences", "topics"], dtype=object),
        },
    )


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    ("probability", "freedom", "quantile"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.30265),
        (0.975, 3, 3.18245),
        (0.975, 4, 2.77645),
        (0.975, 9, 2.26216),
        (0.975, 30, 2.04227),
        (0.95, 5, 2.01505),
        (0.995, 10, 3.16927),
        (0.9995, 7, 5.40788),
        (0.75, 1, 1.0),
        (0.975, 10_000, 1.96020),
        (0.025, 4, -2.77645),
        (0.5, 3, 0.0),
    ],
)
def test_student_by_the_table(probability, freedom, quantile):
    assert t_quantile(probability, freedom) == pytest.approx(quantile, rel=3e-6, abs=1e-12)


def test_seed_interval_by_hand():
    da = xr.DataArray([[1.0, 2, 3, 6], [1, 2, np.nan, np.nan]], dims=("k", "seed"), attrs={"units": "nat"}, name="loss")
    found = seed_interval(da)
    half = 3.18245 * math.sqrt(14 / 3) / 2
    assert found["mean"].values.tolist() == [3, 1.5]
    assert found["low"].values == pytest.approx([3 - half, 1.5 - 12.7062 * 0.5], rel=1e-5)
    assert found["high"].values == pytest.approx([3 + half, 1.5 + 12.7062 * 0.5], rel=1e-5)
    assert found["count"].values.tolist() == [4, 2]
    assert found["low"].attrs["units"] == "nat"


def test_one_seed_or_none_has_no_interval():
    found = seed_interval(xr.DataArray([[1.0, np.nan], [np.nan, np.nan]], dims=("k", "seed")))
    assert found["mean"].values[0] == 1
    assert np.isnan(found["mean"].values[1])
    assert np.isnan(found["low"].values).all()
    assert seed_interval(xr.DataArray([[1.0]], dims=("k", "seed")))["high"].isnull().all()


def test_intervals_cover_in_95_of_100():
    drawn = np.random.default_rng(0).standard_normal((4000, 4))
    found = seed_interval(xr.DataArray(drawn, dims=("try", "seed")))
    assert float(((found["low"] < 0) & (found["high"] > 0)).mean()) == pytest.approx(0.95, abs=0.015)


# ---------------------------------------------------------------- scaling


def test_a_scaling_law_comes_back(cube):
    last = cube["excess"].isel(step=-1)
    found = scaling_fit(last, "topics", theory=-0.5)
    assert found.sizes == {"split": 2}
    assert (found["low"] < -0.5).all()
    assert (found["high"] > -0.5).all()
    assert found["covers"].all()
    assert (found["high"] - found["low"] < 0.2).all()
    assert found["coefficient"].values == pytest.approx([3, 6], rel=0.1)
    assert found["count"].values.tolist() == [15, 15]  # neither fresh topics nor the missing cell
    assert found["coefficient"].attrs["units"] == "nat"
    assert not scaling_fit(last, "topics", theory=-1.0)["covers"].any()


def test_without_seeds_the_residuals_tell():
    x = np.array([1.0, 2, 4, 8, 16])
    noise = np.array([0.1, -0.1, 0.05, -0.1, 0.05])
    da = xr.DataArray(2 * x**-0.7 * np.exp(noise), dims="K", coords={"K": x})
    found = scaling_fit(da, "K")
    slope, covariance = np.polyfit(np.log(x), np.log(da.values), 1, cov=True)
    assert float(found["exponent"]) == pytest.approx(slope[0])
    half = 3.18245 * math.sqrt(covariance[0, 0])
    assert float(found["high"] - found["exponent"]) == pytest.approx(half, rel=1e-5)
    assert "covers" not in found
    exact = scaling_fit(da.copy(data=2 * x**-0.7), "K", theory=-0.7)
    assert float(exact["exponent"]) == pytest.approx(-0.7, abs=1e-12)


def test_a_companion_coordinate_is_an_axis():
    da = xr.DataArray([4.0, 2, 1], dims="budget", coords={"budget": ["a", "b", "c"]})
    da = da.assign_coords(data_length=("budget", [16, 32, 64]))
    assert float(scaling_fit(da, "data_length")["exponent"]) == pytest.approx(-1)
    with pytest.raises(ValueError, match=r"'budget' has names, not numbers; .* along it: data_length"):
        scaling_fit(da, "budget")


def test_too_few_points_have_no_slope():
    da = xr.DataArray([1.0, np.nan, 0.0], dims="K", coords={"K": [1, 2, 4]})
    found = scaling_fit(da, "K")
    assert np.isnan(found["exponent"])
    assert found["count"] == 1


# ---------------------------------------------------------------- maps and thresholds


def test_a_phase_map_reduces_the_rest(cube):
    final = cube.isel(step=-1).sel(split="topics")
    found = phase_map(final.expand_dims(layers=[1, 2]), "topics", "layers", "excess")
    assert found.dims == ("layers", "topics")
    np.testing.assert_allclose(found.isel(layers=0), final["excess"].mean("seed"))
    assert found.attrs["units"] == "nat"
    lowest = phase_map(final.expand_dims(layers=[1, 2]), "topics", "layers", "excess", reduce="min")
    np.testing.assert_allclose(lowest.isel(layers=1), final["excess"].min("seed"))


def test_a_phase_map_averages_neither_steps_nor_names(cube):
    with pytest.raises(ValueError, match=r"excess has 4 entries of step; select one: iclkit.final\(ds\)"):
        phase_map(cube, "topics", "seed", "excess")
    with pytest.raises(ValueError, match=r"2 entries of split; select one: ds.sel\(split=...\)"):
        phase_map(cube.isel(step=-1), "topics", "seed", "excess")
    with pytest.raises(ValueError, match="no variable 'exces'; there are excess"):
        phase_map(cube, "topics", "seed", "exces")
    with pytest.raises(ValueError, match="reduce must be one of mean, median"):
        phase_map(cube, "topics", "seed", "excess", reduce="mode")


def test_a_threshold_is_crossed_between_points():
    steps = np.array([0, 1, 3, 7, 15, 31])  # ln(1 + step) is evenly spaced
    falling = xr.DataArray(
        [
            [6.0, 5, 4, 3, 2, 1],
            [6, 5, 4, 3.5, 3.5, 3.5],
            [2, 1, 1, 1, 1, 1],
            [6, np.nan, 4, np.nan, 2, 1],
            [np.nan] * 6,
        ],
        dims=("cell", "step"),
        coords={"step": steps},
        name="loss",
    )
    found = threshold_crossing(falling, below=2.5)
    between = math.sqrt(8 * 16) - 1
    gap = math.exp(math.log(4) + 0.75 * math.log(4)) - 1
    assert found.values == pytest.approx([between, math.nan, 0, gap, math.nan], nan_ok=True)
    assert threshold_crossing(-falling, above=-2.5).values == pytest.approx(found.values, nan_ok=True)
    assert found.attrs["long_name"] == "step at which loss is first below 2.5"


def test_an_axis_without_zero_is_logarithmic_and_infinity_is_no_place(cube):
    last = cube["excess"].isel(step=-1).sel(split="sequences").mean("seed")
    found = threshold_crossing(last, "topics", below=1.0)
    assert float(found) == pytest.approx(9, rel=0.15)
    assert np.isnan(threshold_crossing(last, "topics", below=0.1))  # only fresh topics get there
    shuffled = last.isel(topics=[3, 0, 4, 2, 1])
    assert float(threshold_crossing(shuffled, "topics", below=1.0)) == pytest.approx(float(found))
    with pytest.raises(ValueError, match="either below or above"):
        threshold_crossing(last, "topics")


# ---------------------------------------------------------------- rank correlation


def test_spearman_by_hand():
    a = xr.DataArray([[1.0, 2, 3, 4, 5], [1, 2, 2, 3, np.nan]], dims=("bound", "cell"))
    b = xr.DataArray([2.0, 1, 4, 3, 5], dims="cell")
    found = rank_correlation(a, b, "cell")
    ranks = np.corrcoef([0, 1.5, 1.5, 3], [1, 0, 3, 2])[0, 1]
    assert found["correlation"].values == pytest.approx([1 - 6 * 4 / (5 * 24), ranks])
    assert found["count"].values.tolist() == [5, 4]
    assert found["low"][0] <= found["correlation"][0] <= found["high"][0]
    assert rank_correlation(a, b)["count"] == 9


def test_monotone_is_one_and_too_few_is_nan():
    x = np.arange(1.0, 30)
    found = rank_correlation(xr.DataArray(x, dims="cell"), xr.DataArray(np.exp(x), dims="cell"))
    assert [float(found[name]) for name in ("correlation", "low", "high")] == pytest.approx([1, 1, 1])
    short = xr.DataArray([1.0, 2.0], dims="cell")
    assert np.isnan(rank_correlation(short, short)["correlation"])
    level = xr.DataArray(np.ones(5), dims="cell")
    assert np.isnan(rank_correlation(level, level)["correlation"])


def test_the_bootstrap_interval_covers():
    covered = []
    for seed in range(60):
        drawn = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=60)
        found = rank_correlation(*(xr.DataArray(column, dims="cell") for column in drawn.T), draws=300)
        covered.append(float(found["low"]) <= 6 / math.pi * math.asin(0.3) <= float(found["high"]))
    assert 0.85 <= np.mean(covered) <= 1


# ---------------------------------------------------------------- names, cubes, imports


@pytest.mark.parametrize(
    "call",
    [
        lambda da: seed_interval(da, "sed"),
        lambda da: scaling_fit(da, "sed"),
        lambda da: threshold_crossing(da, "sed", below=1),
        lambda da: rank_correlation(da, da, "sed"),
        lambda da: phase_map(da.to_dataset(), "sed", "topics", "excess"),
    ],
)
def test_a_wrong_dim_is_told_the_right_ones(cube, call):
    with pytest.raises(ValueError, match="excess has no dimension 'sed'; it has topics, seed, step, split"):
        call(cube["excess"])


def test_a_cube_on_disk(cube, tmp_path):
    cube.to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    data = xr.open_zarr(tmp_path / "cube.zarr", consolidated=False)  # lazy, as `open_cube` gives it
    found = iclkit.analysis.scaling_fit(data["excess"].isel(step=-1), "topics", theory=-0.5)
    assert found["covers"].all()


def test_importing_the_package_imports_no_analysis():
    code = "import sys, iclkit; assert not {'numpy', 'xarray'} & set(sys.modules); iclkit.analysis.phase_map"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
