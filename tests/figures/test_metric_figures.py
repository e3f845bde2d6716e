"""The figures of losses, calibration, power law, occurrence and topic cost, from small Datasets shaped like a cube."""

import io

import numpy as np
import pytest
import xarray as xr

from iclkit_figures import calibration, losses, occurrence, power_law, scaling, topic_cost

SPLITS, STEPS, POSITION = ["train", "sequences", "topics"], [0, 1, 10, 100], np.arange(1, 33)
REFERENCES = ["oracle", "mixture", "population"]


def cube(seeds=1, widths=1):
    """Everything the five figures read, over a sweep of widths and seeds."""
    rng = np.random.default_rng(0)
    lead = (widths, seeds)
    falling = 0.4 / (1 + np.array(STEPS, dtype=float))
    sizes = {
        "step": len(STEPS),
        "split": len(SPLITS),
        "position": len(POSITION),
        "reference": 3,
        "first_position": 2,
        "bin": 10,
        "end": 2,
        "fit_position": 5,
        "occurrence": 6,
        "topic": 3,
    }

    def of(values, *dims):
        shape = (*lead, *(sizes[dim] for dim in dims))
        return ("width", "seed", *dims), np.broadcast_to(values, shape) * (1 + 0.01 * rng.random(shape))

    body = ("step", "split")
    steps = falling[:, None, None]
    middles = (np.arange(10) + 0.5) / 10
    curve = 0.5 / POSITION + falling[:, None, None] / POSITION
    data = {
        "log_ratio": of(steps + 0.02, *body, "first_position"),
        "log_ratio_se": of(0.003, *body, "first_position"),
        "oracle_kl": of(steps + 0.03, *body, "first_position"),
        "oracle_kl_se": of(0.001, *body, "first_position"),
        "floor": of(np.array([0.5, 0.52, 0.52])[:, None, None], "reference", "split", "position"),
        "excess_reference": (("width", "seed", "split"), np.full((*lead, 3), "mixture", dtype=object)),
        "calibration_accuracy": of(np.where(middles > 0.4, middles - 0.05, np.nan), *body, "bin"),
        "calibration_accuracy_se": of(0.01, *body, "bin"),
        "calibration_confidence": of(np.where(middles > 0.4, middles, np.nan), *body, "bin"),
        "calibration_share": of(np.where(middles > 0.4, 1 / 6, 0.0), *body, "bin"),
        "power_law_curve": of(curve, *body, "position"),
        "power_law_curve_se": of(0.002, *body, "position"),
        "power_law_floor": of(0.5 / POSITION, "split", "position"),
        "power_law_optimum": of(0.5 / POSITION, "split", "position"),
        "power_law_exponent": of(0.98, *body),
        "power_law_coefficient": of(0.5, *body),
        "power_law_optimum_exponent": of(1.0, *body),
        "power_law_exponent_interval": of(np.array([0.9, 1.05]), *body, "end"),
        "occurrence_loss": of(steps + np.array([1.0, 0.1, 0.1, 0.1, 0.1, 0.1]), *body, "occurrence"),
        "occurrence_loss_se": of(0.02, *body, "occurrence"),
        "occurrence_floor": of(np.array([0.9, 0, 0, 0, 0, 0.0]), "reference", "split", "occurrence"),
        "topic_cost": of(steps + np.array([0.5, 1.0, 2.0]), *body, "topic"),
        "topic_cost_se": of(0.05, *body, "topic"),
        "topic_cost_optimum": of(np.array([0.5, 1.0, 2.0]), "split", "topic"),
        "topic_cost_optimum_se": of(0.05, "split", "topic"),
        "topic_cost_limit": of(np.array([0.6, 1.1, 2.1]), "topic"),
    }
    coords = {
        "width": [16 * (place + 1) for place in range(widths)],
        "seed": list(range(seeds)),
        "step": STEPS,
        "split": SPLITS,
        "position": POSITION,
        "reference": REFERENCES,
        "first_position": [1, 2],
        "bin": middles,
        "end": ["low", "high"],
        "fit_position": [8, 10, 12, 14, 16],
        "occurrence": np.arange(1, 7),
        "topic": [1, 2, 3],
    }
    return xr.Dataset(data, coords=coords)


MODULES = [losses, calibration, power_law, occurrence, topic_cost]
FIRST = {
    losses: "log_ratio",
    calibration: "calibration_accuracy",
    power_law: "power_law_curve",
    occurrence: "occurrence_loss",
    topic_cost: "topic_cost",
}


def saved(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def named(figure):
    return {text.get_text() for legend in figure.legends for text in legend.get_texts()}


def notes(figure):
    return " ".join(" ".join(text.get_text().split()) for text in figure.texts)


@pytest.mark.parametrize("module", MODULES)
def test_a_panel_per_setting_with_names_inside_the_figure(module):
    figure = module.draw(cube(seeds=2, widths=2))
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert [axes.get_title() for axes in panels] == ["width = 16", "width = 32"]
    assert "nat" in panels[0].get_ylabel() or module is calibration
    assert "mean over 2 seeds" in notes(figure)
    assert saved(figure)[:4] == b"\x89PNG"


@pytest.mark.parametrize("module", MODULES)
def test_legends_fit_into_one_column(module):
    figure = module.draw(cube())
    figure.draw_without_rendering()
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.x0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1


@pytest.mark.parametrize("module", MODULES)
def test_nothing_measured_is_nothing_drawn(module):
    data = cube()
    data[FIRST[module]][:] = np.nan
    assert module.draw(data) is None


@pytest.mark.parametrize("module", MODULES)
def test_the_same_cube_gives_the_same_bytes(module):
    assert saved(module.draw(cube())) == saved(module.draw(cube()))


def test_losses_shows_the_four_and_what_is_least():
    assert named(losses.draw(cube())) == {
        "empirical (train)",
        "train, next token averaged",
        "first level (sequences)",
        "population (topics)",
        "least possible (topics)",
    }
    data = cube()
    data["log_ratio"][{"step": 3}] = -0.01
    (axes,) = losses.draw(data).axes
    assert axes.get_yscale() == "symlog"
    for name in ("log_ratio", "oracle_kl"):
        data[name][:] = np.inf
    assert named(losses.draw(data.drop_vars("floor"))) == set()


def test_scaling_stands_against_the_swept_number_at_the_last_step_of_each_cell():
    data = cube(seeds=2, widths=4).rename(width="topics").assign_coords(topics=[4.0, np.inf, 1.0, 16.0])
    for name in ("log_ratio", "oracle_kl"):
        data[name][{"topics": 0, "step": 3}] = np.nan  # a shorter training
    figure = scaling.draw(data)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "4", "16", "fresh"]
    assert axes.get_xlabel() == "topics"
    assert axes.get_xscale() == "log"
    assert len(named(figure)) == 5
    population = data["oracle_kl"].sel(split="topics", first_position=2).mean("seed").sortby("topics")
    drawn = axes.containers[3].lines[0].get_xydata()
    assert drawn[:, 0].tolist() == [1, 4, 16, 64]
    expected = [float(population.sel(topics=k).dropna("step")[-1]) for k in (1, 4, 16, np.inf)]
    np.testing.assert_allclose(drawn[:, 1], expected)
    assert saved(figure)[:4] == b"\x89PNG"
    assert scaling.draw(cube(widths=2)) is None  # two values are no curve


def test_calibration_shows_bins_that_hold_something_on_every_split():
    figure = calibration.draw(cube())
    assert named(figure) == {"calibrated", *SPLITS}
    (axes,) = figure.axes
    assert len(axes.collections[-1].get_offsets()) == 6


def test_the_power_law_tells_its_exponent_beside_that_of_the_optimum():
    figure = power_law.draw(cube())
    assert named(figure) == {"model", "exact optimum", "fit"}
    assert "split topics" in notes(figure)
    assert "of the optimum's curve in the same fit 1.0" in notes(figure)
    data = cube()
    data["power_law_exponent"][:] = np.nan
    figure = power_law.draw(data)
    assert named(figure) == {"model", "exact optimum"}
    assert "no fit" in notes(figure)


def test_occurrence_has_a_line_per_snapshot_over_the_optimum():
    figure = occurrence.draw(cube())
    assert len(figure.axes[0].get_lines()) == len(STEPS) + 1
    assert named(figure) == {"exact optimum (mixture)"}
    assert named(occurrence.draw(cube().drop_vars("occurrence_floor"))) == set()


def test_topic_cost_has_bars_beside_the_limit():
    figure = topic_cost.draw(cube())
    assert named(figure) == {"model", "exact optimum", "$-\\ln w$"}
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "3"]
    bars = [bar.get_height() for bar in axes.patches]
    assert bars[:3] == pytest.approx([0.5, 1.0, 2.0], rel=0.02)
