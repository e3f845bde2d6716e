"""The figure `sandwich`, from small Datasets shaped like a cube: everything is inside the axes and told apart."""

import json

import numpy as np
import xarray as xr

from iclkit_figures import sandwich


def cube():
    """One cell: a held-out certificate by block, one of two codes, and one above the oracle far beyond the axis."""
    record = json.dumps({"references": {"baseline": 1.1}})

    def bound(name, values, *dims, long_name="upper limit"):
        shape = np.shape(values)
        return {
            name: (dims, values, {"long_name": long_name}),
            f"{name}_valid": (dims, np.ones(shape)),
            f"{name}_population": (dims, np.full(shape, 0.7)),
            f"{name}_population_se": (dims, np.full(shape, 0.01)),
            f"{name}_lower": (dims, np.full(shape, 0.65)),
            f"{name}_record": (dims, np.full(shape, record, dtype=object)),
        }

    blocks = np.array([[[1.0, 0.8, 0.75]]])
    data = {
        "status": (("seed",), [1]),
        **bound("holdout", [[0.78]], "seed", "target"),
        **bound("compression", [[[0.9, 1.2]]], "seed", "target", "grid_bits"),
        **bound("paper_bound", [[18.0]], "seed", "target", long_name="upper limit of loss, above the oracle's"),
        "holdout_block": (("seed", "target", "block"), blocks),
        "holdout_block_population": (("seed", "target", "block"), blocks - [0.1, 0.3, 0.35]),
        "holdout_gain": (("seed", "target"), [[0.12]]),
    }
    coords = {"seed": [0], "target": ["sequences"], "grid_bits": [4, 8], "block": [1, 5, 9]}
    return xr.Dataset(data, coords)


def test_certificates_are_told_apart_and_one_beyond_the_axis_keeps_its_number():
    left, _ = sandwich.draw(cube()).axes
    labels = [text.get_text() for text in left.get_xticklabels()]
    assert labels == [
        "holdout",
        "compression, grid bits 4",
        "compression, grid bits 8",
        "paper bound, above the oracle",
    ]
    assert left.get_ylim()[1] < 1.5
    assert [text.get_text() for text in left.texts] == ["18"]


def test_of_more_certificates_than_fit_the_first_seed_is_shown():
    many = xr.concat([cube().assign_coords(seed=[seed]) for seed in range(5)], "seed", data_vars="all")
    figure = sandwich.draw(many)
    assert len(figure.axes[0].get_xticklabels()) == 4
    assert any("first seed" in text.get_text() for text in figure.texts)


def test_both_lines_by_block_are_inside_the_axes():
    _, right = sandwich.draw(cube()).axes
    low, high = right.get_ylim()
    assert low < 0.4 and high > 1.0
    assert right.get_title() == "certified gain in context: 0.120 nat"


def test_the_gain_is_that_of_the_cell_whose_blocks_are_drawn():
    first = cube()
    first["holdout_block"][:] = np.nan
    both = xr.concat(
        [first, cube().assign(holdout_gain=(("seed", "target"), [[0.2]]))], dim=xr.Variable("width", [8, 16])
    )
    _, right = sandwich.draw(both).axes
    assert right.get_title() == "certified gain in context: 0.200 nat"


def test_a_cube_without_certificates_has_no_such_figure():
    assert sandwich.draw(cube()[["status"]]) is None
