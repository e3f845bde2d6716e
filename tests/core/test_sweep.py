import pytest

from iclkit import plan
from iclkit.errors import ConfigError


def _plan(found, tiny, sweep):
    return plan.load(None, tiny | {"sweep": sweep}, found)


def test_axes_are_dims_in_order_and_seed_is_always_there(found, tiny):
    made = _plan(found, tiny, {"data.topics": [1, 2, "fresh"], "model.width": [8, 16]})
    assert made.dims == {"topics": 3, "width": 2, "seed": 1}
    assert made.axes[0].labels == (1, 2, float("inf"))
    assert len(made.cells) == len(made.trainings) == 6
    assert _plan(found, tiny, {"seed": [3, 4]}).dims == {"seed": 2}


def test_fields_that_move_together_are_one_dim(found, tiny):
    made = _plan(found, tiny, {"budget": {"zip": {"data.sequences": [8, 2, 2], "data.length": [4, 8, 4]}}})
    assert made.dims == {"budget": 3, "seed": 1}
    assert made.axes[0].companions == {"data.sequences": (8, 2, 2), "data.length": (4, 8, 4)}
    assert [(cell.config.data.sequences, cell.config.data.length) for cell in made.cells] == [(8, 4), (2, 8), (2, 4)]


def test_choices_are_labelled_patches(found, tiny):
    made = _plan(found, tiny, {"architecture": {"choices": {"lstm": {"model": {"kind": "lstm"}}, "transformer": {}}}})
    assert made.axes[0].labels == ("lstm", "transformer")
    assert [cell.config.model.kind for cell in made.cells] == ["lstm", "transformer"]


def test_names_that_clash_are_whole_paths(found, tiny):
    tiny["model"] = {"kind": "lstm"}
    made = _plan(found, tiny, {"data.length": [4, 8], "evaluation.length": [4, 6]})
    assert list(made.dims) == ["data_length", "evaluation_length", "seed"]
    assert len(made.trainings) == 2
    assert len(made.passes) == 4


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({"data.topics": []}, 'sweep."data.topics": an axis needs at least one value'),
        ({"data.topics": 3}, 'sweep."data.topics": expected a list of values'),
        ({"modle.width": [1]}, 'sweep."modle.width": modle.width is no key of a config'),
        ({"b": {"zip": {"seed": [1, 2], "data.topics": [1]}}}, "sweep.b: keys that move together need lists"),
        ({"data.topics": [1, 1]}, 'sweep."data.topics": the same value stands twice'),
        ({"b": {"zip": {"data.topics": [1, 1], "model.width": [8, 8]}}}, "sweep.b: the same value stands twice"),
        ({"model.width": [8, 9]}, "model.heads: 2 does not divide width = 9"),
        ({"model.width": [8, "x"]}, 'model.width: expected an integer, got "x" (str) (in the sweep, width = x)'),
        ({"step": {"choices": {"a": {}}}}, "sweep.step: this name is taken"),
    ],
)
def test_what_mistakes_say(found, tiny, sweep, said):
    with pytest.raises(ConfigError) as caught:
        _plan(found, tiny, sweep)
    assert any(str(problem).startswith(said) for problem in caught.value.problems), caught.value


def test_a_sweep_over_evaluation_trains_once(found, tiny):
    made = _plan(found, tiny, {"evaluation.length": [4, 8]})
    assert len(made.trainings) == 1
    assert len(made.passes) == 2


def test_stacked_trainings_share_cohorts_only_where_they_ask(found, tiny):
    alone = _plan(found, tiny, {"seed": list(range(3))})
    assert [len(cohort) for cohort in alone.cohorts] == [1, 1, 1]


def test_a_swept_kind_keeps_what_other_axes_say(found, tiny):
    tiny["model"] = {"width": 8}  # the kind is left to the default
    made = _plan(found, tiny, {"model.width": [8, 16], "model.kind": ["transformer", "lstm"], "seed": [0]})
    assert len(made.trainings) == 4
    assert [(cell.config.model.kind, cell.config.model.config.width) for cell in made.cells] == [
        ("transformer", 8),
        ("lstm", 8),
        ("transformer", 16),
        ("lstm", 16),
    ]
    alone = _plan(found, tiny | {"model": {"layers": 1, "width": 8, "heads": 2}}, {"model.kind": ["transformer"]})
    assert alone.cells[0].config.model.config.width == 8


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        (
            {"data.length": [4, 6], "budget": {"zip": {"data.length": [2, 3], "data.sequences": [1, 2]}}},
            "sweep.budget: data.length is varied by the axis data.length too",
        ),
        ({"a/b": {"choices": {"x": {}}}}, "sweep.a/b: an axis is called by letters"),
        ({"": {"choices": {"x": {}}}}, "sweep.: an axis is called by letters"),
        ({"loss_se": {"choices": {"x": {}}}}, "sweep.loss_se: this name is taken"),
        ({"b": {"zip": {"seed": [0, 1], "data.sequences": [8, 4]}}}, "sweep.b: seed is a dimension of its own"),
    ],
)
def test_what_would_make_a_cube_lie_is_refused(found, tiny, sweep, said):
    with pytest.raises(ConfigError) as caught:
        _plan(found, tiny, sweep)
    assert any(str(problem).startswith(said) for problem in caught.value.problems), caught.value
