"""The figures of metrics with dims of their own, drawn from small Datasets shaped like a cube."""

import io

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from iclkit_figures import accuracy, algorithm_mixture, belief_probe, emergence, induction_heads

STEPS = [0, 1, 10, 100]


def draws(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def accuracies(layers=(1, 2)):
    dims = ("layers", "seed", "step", "example_length", "shots")
    shape = (len(layers), 1, 4, 2, 3)
    right = draws(*shape)
    right[:, :, :2] = np.nan  # snapshots that were not looked at
    return xr.Dataset(
        {
            "icl_accuracy": (dims, right),
            "icl_accuracy_low": (dims, right - 0.1),
            "icl_accuracy_high": (dims, right + 0.1),
            "reader_accuracy": (
                ("layers", "seed", "reader", "example_length", "shots"),
                draws(len(layers), 1, 2, 2, 3),
            ),
        },
        coords={
            "layers": list(layers),
            "seed": [0],
            "step": STEPS,
            "example_length": [3, 5],
            "shots": [0, 1, 4],
            "reader": ["ceiling", "majority"],
        },
    )


def probes(states=3, seeds=1):
    dims = ("seed", "step", "layer", "target")
    belief = draws(50, states)
    belief /= belief.sum(1, keepdims=True)
    return xr.Dataset(
        {
            "belief_r2": (dims, draws(seeds, 4, 3, 2)),
            "belief_r2_shuffled": (dims, 0.01 * draws(seeds, 4, 3, 2)),
            "belief_projection": (("seed", "layer", "point", "state"), np.broadcast_to(belief, (seeds, 3, 50, states))),
            "belief": (("seed", "point", "state"), np.broadcast_to(belief, (seeds, 50, states))),
        },
        coords={
            "seed": range(seeds),
            "step": STEPS,
            "layer": ["embedding", "final", "layer_1"],
            "target": ["belief", "topic"],
        },
    )


def stages():
    step = np.arange(200.0)
    curve = np.where(step < 50, 1.6, 1.0)
    table = np.stack([curve, curve + 0.1])[None]
    change = np.full((1, 2, 2), np.nan)
    change[0, 0, 0] = 50
    near = np.array([[["uniform", "mixture", ""], ["", "", ""]]], dtype=object)
    return xr.Dataset(
        {
            "record_curve": (("seed", "positions", "moment"), table),
            "record_step": (("seed", "positions", "moment"), np.broadcast_to(step, table.shape)),
            "change_step": (("seed", "positions", "change"), change),
            "change_low": (("seed", "positions", "change"), change - 1),
            "change_high": (("seed", "positions", "change"), change + 1),
            "plateau_predictor": (("seed", "positions", "plateau"), near),
            "predictor_loss": (("seed", "predictor", "positions"), [[[1.61, 1.6], [1.02, 1.0]]]),
        },
        coords={"seed": [0], "positions": ["all", "1"], "predictor": ["uniform", "mixture"]},
    )


def mixtures():
    weight = np.stack([np.linspace(1, 0, 4), np.linspace(0, 1, 4), np.zeros(4)], axis=1)  # (step, predictor)
    return xr.Dataset(
        {
            "algorithm_weight": (("seed", "step", "split", "predictor"), np.stack([weight, weight], axis=1)[None]),
            "algorithm_residual": (("seed", "step", "split"), np.full((1, 4, 2), 0.01)),
        },
        coords={
            "seed": [0],
            "step": STEPS,
            "split": ["train", "topics"],
            "predictor": ["uniform", "mixture", "static-bigram"],
        },
    )


def heads(layers=(2,)):
    dims = ("layers", "seed", "step", "layer", "head")
    shape = (len(layers), 1, 4, 2, 2)
    return xr.Dataset(
        {
            "prefix_matching": (dims, draws(*shape)),
            "copying": (dims, draws(*shape)),
            "prefix_matching_chance": (("layers", "seed"), np.full(shape[:2], 0.05)),
            "copying_chance": (("layers", "seed"), np.full(shape[:2], 0.1)),
        },
        coords={"layers": list(layers), "seed": [0], "step": STEPS, "layer": ["layer_1", "layer_2"], "head": [1, 2]},
    )


ALL = {
    "accuracy": (accuracy.draw, accuracies, "icl_accuracy"),
    "belief-probe": (belief_probe.draw, probes, "belief_r2"),
    "emergence": (emergence.draw, stages, "record_curve"),
    "algorithm-mixture": (algorithm_mixture.draw, mixtures, "algorithm_weight"),
    "induction-heads": (induction_heads.draw, heads, "prefix_matching"),
}


def panels_of(figure):
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def notes(figure):
    return " ".join(" ".join(text.get_text().split()) for text in figure.texts)


@pytest.mark.parametrize("name", ALL)
def test_a_figure_is_drawn_the_same_every_time_and_not_at_all_where_nothing_is_known(name):
    draw, make, variable = ALL[name]
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        figure = draw(make())
        assert isinstance(figure, Figure)
        figure.savefig(file, format="png")
    assert files[0].getvalue() == files[1].getvalue()
    unknown = make()
    unknown[variable] = unknown[variable] * np.nan
    assert draw(unknown) is None


def test_accuracy_has_a_panel_per_cell_and_length_and_a_line_per_measured_snapshot():
    figure = accuracy.draw(accuracies())
    axes = panels_of(figure)
    assert [each.get_title() for each in axes][:2] == [
        "layers = 1, example length = 3",
        "layers = 1, example length = 5",
    ]
    assert all(len(each.get_lines()) == 2 + 2 for each in axes)
    assert [tick.get_text() for tick in axes[0].get_xticklabels()] == ["0", "1", "4"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ceiling: prompt process known", "majority label"]
    assert "Wilson" in notes(figure)


@pytest.mark.parametrize(("states", "count"), [(3, 3), (4, 1)])
def test_beliefs_of_three_states_are_shown_in_the_simplex(states, count):
    figure = belief_probe.draw(probes(states))
    assert len(figure.axes) == count
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["embedding", "layer 1", "final", "belief", "topic", "shuffled"]
    assert len(figure.axes[0].get_lines()) == 2 * 3 * 2


def test_emergence_names_the_predictors_that_plateaus_are_near():
    figure = emergence.draw(stages())
    (axes,) = panels_of(figure)
    assert [text.get_text() for text in axes.texts] == ["uniform", "mixture"]
    levels = [line.get_ydata()[0] for line in axes.get_lines() if len(line.get_ydata()) == 2 and line.get_zorder() == 2]
    assert levels == [1.61, 1.02]
    assert axes.texts[0].get_ha() == "right", "the curve begins there: the name stands at the other end"
    assert axes.texts[1].get_ha() == "left"


def test_emergence_says_what_was_recorded():
    assert panels_of(emergence.draw(stages()))[0].get_ylabel() == "training loss (nat per token)"
    other = stages().drop_vars("predictor_loss")
    other["record_curve"].attrs["record"] = "gradient_norm"
    figure = emergence.draw(other)
    assert panels_of(figure)[0].get_ylabel() == "gradient norm"
    assert "dashes" not in notes(figure)


def test_algorithm_mixture_names_what_has_weight():
    figure = algorithm_mixture.draw(mixtures())
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["mixture", "uniform"]
    assert "split topics" in notes(figure)
    assert "0.01 at the end" in notes(figure)


def test_induction_heads_show_both_scores_of_one_cell_or_matching_of_several():
    one, two = induction_heads.draw(heads()), induction_heads.draw(heads((1, 2)))
    assert [axes.get_ylabel() for axes in one.axes] == ["prefix matching", "copying"]
    assert [axes.get_title() for axes in two.axes] == ["layers = 1", "layers = 2"]
    assert len(one.axes[0].get_lines()) == 2 * (2 + 1) + 1
