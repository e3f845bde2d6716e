"""The built-in figures, drawn from small Datasets shaped like a cube."""

import io
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from iclkit_figures import icl_curve, panels, plugin, style, training
from iclkit_figures.log_axis import log_axis

SPLITS = ["train", "topics"]


def cube(sweep=None, seeds=(0,), positions=48, steps=(0, 1, 10, 100), title="A try"):
    sweep = dict(sweep or {})
    lead = (*(len(values) for values in sweep.values()), len(seeds))
    dims = (*sweep, "seed")
    position, step = np.arange(1, positions + 1), np.array(steps)
    floor = 0.5 + 0.2 / position
    excess = 0.1 / (1 + step[:, None]) / np.sqrt(position)
    rng = np.random.default_rng(0)

    def spread(values):
        return values + 1e-4 * rng.random((*lead, *values.shape))

    both = np.stack([excess, excess], axis=1)
    body = (*dims, "step", "split", "position")
    oracle = np.full_like(floor, 0.5)
    return xr.Dataset(
        {
            "loss": (body, spread(both + floor)),
            "loss_se": (body, spread(np.full_like(both, 0.003))),
            "excess": (body, spread(both)),
            "excess_se": (body, spread(np.full_like(both, 0.001))),
            "floor": (
                (*dims, "reference", "split", "position"),
                spread(np.stack([[oracle, oracle], [floor, floor]])),
            ),
            "excess_reference": ((*dims, "split"), np.full((*lead, 2), "population", dtype=object)),
            "excess_kind": ((*dims, "split"), np.full((*lead, 2), "mean KL divergence", dtype=object)),
        },
        coords={
            **{name: list(values) for name, values in sweep.items()},
            "seed": list(seeds),
            "step": step,
            "split": SPLITS,
            "position": position,
            "reference": ["oracle", "population"],
            "tokens_seen": ("step", 4096.0 * step),
        },
        attrs={"title": title},
    )


def saved(figure, suffix="png"):
    file = io.BytesIO()
    figure.savefig(file, format=suffix)
    return file.getvalue()


def panels_of(figure):
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def notes(figure):
    return " ".join(" ".join(text.get_text().split()) for text in figure.texts)


def test_icl_curve_has_a_line_per_snapshot_and_names_the_optimum():
    figure = icl_curve.draw(cube())
    assert isinstance(figure, Figure)
    (axes,) = panels_of(figure)
    assert len(axes.get_lines()) == 4 + 2
    assert axes.get_ylabel() == "loss (nat per token)"
    told = {text.get_text() for text in axes.texts}
    assert {"exact optimum (population)", "oracle (topic known)"} <= told
    assert figure.get_suptitle() == "A try"
    (bar,) = (axes for axes in figure.axes if axes.get_label() == "<colorbar>")
    assert bar.get_ylabel() == "training step"
    assert [text.get_text() for text in bar.get_yticklabels()] == ["0", "1", "10", "100"]
    assert saved(figure)[:4] == b"\x89PNG"


def test_icl_curve_without_anything_exact_shows_the_loss_alone():
    figure = icl_curve.draw(cube().drop_vars(["floor", "excess"]))
    (axes,) = panels_of(figure)
    assert len(axes.get_lines()) == 4
    assert not [text for text in axes.texts if text.get_text()]
    assert saved(figure)[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (0.5, 0.9, ["0.5", "0.6", "0.7", "0.8", "0.9"]),
        (0.015, 0.3, ["0.02", "0.05", "0.1", "0.2"]),
        (2e-4, 30.0, ["0.001", "0.01", "0.1", "1", "10"]),
    ],
)
def test_logarithmic_axes_have_plain_numbers_enough(low, high, told):
    axes = style.figure(3, 2).subplots()
    axes.set_ylim(low, high)
    log_axis(axes)
    axes.figure.draw_without_rendering()
    assert [text.get_text() for text in axes.get_yticklabels() if low <= text.get_position()[1] <= high] == told


def test_titles_of_panels_have_the_room_there_is():
    labels = ["topics=1, steps=300, rate=0.001", "topics=5, steps=600, rate=0.001"]
    known = xr.DataArray(
        np.ones((2, 2), bool), dims=("zipped_axis", "seed_count"), coords={"zipped_axis": labels, "seed_count": [1, 2]}
    )
    place = {"zipped_axis": 1, "seed_count": 0}
    assert panels.place_title(known, place, 96) == f"zipped axis = {labels[1]}, seed count = 1"
    assert panels.place_title(known, place, 44).splitlines() == [labels[1], "seed count = 1"]
    assert panels.place_title(known, place, 20).splitlines() == ["topics=5, steps=600…", "seed count = 1"]


def test_labels_lie_inside_the_panel_and_do_not_overlap():
    figure = icl_curve.draw(cube())
    figure.draw_without_rendering()
    (axes,) = panels_of(figure)
    first, second = (text.get_window_extent() for text in axes.texts if text.get_text())
    assert not first.overlaps(second)
    for box in (first, second):
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0
        assert box.y1 <= axes.bbox.y1


@pytest.mark.parametrize(("positions", "scale"), [(1, "linear"), (31, "linear"), (32, "log"), (1000, "log")])
def test_the_position_axis_is_logarithmic_for_many_positions(positions, scale):
    figure = icl_curve.draw(cube(positions=positions, steps=(3,)))
    figure.draw_without_rendering()
    (axes,) = panels_of(figure)
    assert axes.get_xscale() == scale
    shown = [text.get_text() for text in axes.get_xticklabels() if text.get_text()]
    assert all(text.isdigit() for text in shown)


def test_training_has_a_line_per_group_of_positions():
    figure = training.draw(cube(positions=10))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["1", "2\N{EN DASH}3", "4\N{EN DASH}7", "8\N{EN DASH}10"]
    assert figure.get_suptitle() == "Excess over the population optimum"
    assert "split topics, mean KL divergence" in notes(figure)
    (axes,) = panels_of(figure)
    saved(figure)
    assert axes.get_xticklabels()[0].get_text() == "0"
    assert axes.get_yscale() == "log"


def test_training_shows_what_a_logarithm_cannot():
    data = cube()
    data["excess"][{"step": 3}] = -0.001
    figure = training.draw(data)
    assert "triangles: at or below" in notes(figure)
    saved(figure)
    data["excess"][:] = -1.0
    training.draw(data).draw_without_rendering()


@pytest.mark.parametrize("draw", [icl_curve.draw, training.draw])
def test_sweeps_get_a_panel_per_setting_with_seeds_averaged(draw):
    figure = draw(cube({"topics": [1.0, 4.0, np.inf], "kind": ["gru", "lstm"]}, seeds=(0, 1, 2), steps=(0, 5)))
    found = panels_of(figure)
    assert len(found) == 6
    assert found[0].get_title() == "topics = 1, kind = gru"
    assert found[5].get_title() == "topics = fresh, kind = lstm"
    assert "mean over 3 seeds" in notes(figure)
    assert [axes.get_ylabel() != "" for axes in found] == [True, False] * 3
    figure.draw_without_rendering()


@pytest.mark.parametrize("draw", [icl_curve.draw, training.draw])
def test_cells_without_numbers_are_left_out_and_told(draw):
    data = cube({"topics": [1.0, 4.0, np.inf]}, seeds=(0, 1))
    for name in ("loss", "excess", "floor"):
        data[name][{"topics": 1}] = np.nan
        data[name][{"topics": 0, "seed": 1}] = np.nan
    figure = draw(data)
    assert [axes.get_title() for axes in panels_of(figure)] == ["topics = 1", "topics = fresh"]
    assert "3 of 6 cells not measured" in notes(figure)
    figure.draw_without_rendering()


@pytest.mark.parametrize("draw", [icl_curve.draw, training.draw])
def test_large_sweeps_show_some_settings_and_say_so(draw):
    figure = draw(cube({"width": range(1, 31)}, steps=(0, 5), positions=4))
    found = panels_of(figure)
    assert len(found) == panels.LIMIT
    assert [found[0].get_title(), found[-1].get_title()] == ["width = 1", "width = 30"]
    assert "12 of 30 settings shown" in notes(figure)


@pytest.mark.parametrize("draw", [icl_curve.draw, training.draw])
@pytest.mark.parametrize("steps", [(0,), (7,)])
def test_one_step_one_position(draw, steps):
    draw(cube(steps=steps, positions=1)).draw_without_rendering()


@pytest.mark.parametrize("draw", [icl_curve.draw, training.draw])
def test_nothing_measured_is_nothing_drawn(draw):
    data = cube()
    assert draw(data.where(data["position"] < 0)) is None
    assert draw(data.isel(step=[])) is None


def test_another_split_is_shown_where_topics_are_not_measured():
    data = cube().assign_coords(split=["train", "holdout-sequences"]).drop_vars(["excess_reference", "loss_se"])
    assert "split train" in notes(icl_curve.draw(data))


@pytest.mark.parametrize("draw", [icl_curve.draw, training.draw])
@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_the_same_cube_gives_the_same_bytes_and_leaves_settings_alone(draw, suffix):
    before = dict(matplotlib.rcParams)
    figures = [draw(cube(steps=(0, 9), positions=8)) for _ in range(2)]
    assert figures[0].get_figwidth() == style.COLUMN
    first, second = (saved(figure, suffix) for figure in figures)
    assert first == second
    assert dict(matplotlib.rcParams) == before


def test_the_plugin_is_light_and_no_figure_needs_pyplot():
    code = (
        "import sys, iclkit_figures.plugin; assert 'matplotlib' not in sys.modules; "
        "import iclkit_figures.icl_curve, iclkit_figures.training; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {"icl-curve", "training"} <= {spec.name for spec in plugin.iclkit_figures()}
