"""The figures of tasks with options and of distances from references, from small Datasets shaped like a cube."""

import io

import numpy as np
import pytest
import xarray as xr

from iclkit_figures import option_accuracy, reference_distance


def asked(seeds):
    rng = np.random.default_rng(0)
    dims = ("topics", "seed", "step", "tasks", "shots")
    accuracy = 0.5 + 0.1 * rng.random((2, seeds, 3, 2, 4))
    accuracy[:, :, 1] = np.nan  # a snapshot that was not looked at
    accuracy[1, :, :, 1] = np.nan  # no task is unseen
    chance = np.full((2, seeds, 2, 4), 0.25)
    return xr.Dataset(
        {
            "option_accuracy": (dims, accuracy),
            "option_accuracy_low": (dims, accuracy - 0.05),
            "option_accuracy_high": (dims, accuracy + 0.05),
            "option_chance": (("topics", "seed", "tasks", "shots"), chance),
        },
        coords={
            "topics": [4.0, 16.0],
            "seed": list(range(seeds)),
            "step": [0, 10, 100],
            "tasks": ["known", "unseen"],
            "shots": [0, 1, 2, 4],
        },
    )


@pytest.mark.parametrize("seeds", [1, 3])
def test_accuracy_of_known_and_unseen_tasks(seeds):
    made = option_accuracy.draw(asked(seeds))
    assert [axis.get_title() for axis in made.axes] == ["topics = 4", "topics = 16"]
    assert [len(axis.containers) for axis in made.axes] == [2, 1]
    assert [text.get_text() for text in made.legends[0].get_texts()] == ["tasks trained on", "unseen tasks", "a guess"]
    made.savefig(io.BytesIO(), format="png")


def test_no_accuracy_no_figure():
    assert option_accuracy.draw(asked(1) * np.nan) is None


def test_distances_at_the_last_step_that_is_known():
    dims = ("topics", "seed", "step", "reference", "split", "position")
    values = np.ones((3, 2, 2, 3, 2, 4)) * np.array([8.0, 2.0])[:, None, None, None]
    values[..., ::2] = np.nan  # inputs are not predicted
    values[2, :, :, 1] = np.nan  # no mixture of fresh topics
    data = xr.Dataset(
        {"squared_error_distance": (dims, values)},
        coords={
            "topics": [4.0, 64.0, np.inf],
            "seed": [0, 1],
            "step": [0, 100],
            "reference": ["oracle", "mixture", "population"],
            "split": ["sequences", "topics"],
            "position": [1, 2, 3, 4],
        },
    )
    made = reference_distance.draw(data)
    (axes,) = made.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["4", "64", "fresh"]
    lines = [container[0].get_ydata() for container in axes.containers]
    np.testing.assert_array_equal(np.nan_to_num(lines[0], nan=-1), [2, 2, -1])
    np.testing.assert_array_equal(lines[1], [2, 2, 2])
    made.savefig(io.BytesIO(), format="pdf")
    assert reference_distance.draw(data.isel(topics=[0])) is None
