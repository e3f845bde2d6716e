from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iclkit import config, plan
from iclkit.errors import ConfigError, UsageError

HERE = Path(__file__).parent


def _problems(found, tables):
    with pytest.raises(ConfigError) as caught:
        plan.load(None, tables, found)
    return [str(problem) for problem in caught.value.problems]


def test_a_prior_cannot_reach_what_is_held_out(found, tiny):
    tiny["source"] = {"kind": "coins", "alpha": 1.0, "beta": 1.0}
    tiny["data"] |= {"topics": 3, "sequences": 4, "holdout": {"topics": 2}}
    tiny["prior"] = {"data": {"topics": 5}}
    with pytest.raises(ConfigError, match=r"prior.data.topics: 5 reaches what is held out .* allowed: at most 3"):
        plan.load(None, tiny, found)
    tiny["prior"] = {"data": {"topics": 2, "sequences": 9}}
    plan.load(None, tiny, found)


def test_a_prior_of_another_source_has_the_same_tokens_and_no_end(found, tiny, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("ab" * 400)
    text = {"kind": "text", "path": str(tmp_path / "texts")}
    tiny["prior"] = {"source": {"kind": "dice"}}
    with pytest.raises(ConfigError, match=r"prior.source: dice has other tokens than coins; allowed: a source"):
        plan.load(None, tiny, found)
    tiny["prior"] = {"source": text}
    lines = _problems(found, tiny)
    assert "prior.source: text has other tokens than coins; allowed: a source with the same" in lines
    assert any(line.startswith("prior.source: the sequences of text have an end, and certificates") for line in lines)
    tiny["prior"] = {"source": {"kind": "violations", "source": tiny["source"], "structureless": 1.0}}
    plan.load(None, tiny, found)


def test_all_problems_are_told_at_once(found, tiny):
    tiny["source"]["biases"] = [0.2, 1.4]
    tiny["model"] |= {"widht": 3, "layers": "2"}
    tiny["data"] |= {"topics": "frsh", "length": True}
    tiny["trainer"]["steps"] = 2.5
    lines = _problems(found, tiny)
    assert len(lines) == 6
    assert 'model.widht: unknown key (did you mean "width"?)' in lines
    assert 'model.layers: expected an integer, got "2" (str)' in lines
    assert "source.biases: 1.4 is out of range; allowed: at least 0 and at most 1" in lines
    assert 'data.topics: expected an integer or "fresh", got "frsh" (str)' in lines
    assert "data.length: expected an integer, got true (bool)" in lines
    assert "trainer.steps: expected an integer, got 2.5 (float)" in lines


def test_unknown_tables_kinds_and_missing_source(found, tiny):
    tiny["modle"] = {}
    tiny["model"]["kind"] = "transfromer"
    del tiny["source"]
    lines = _problems(found, tiny)
    assert any(line.startswith('modle: unknown key (did you mean "model"?)') for line in lines)
    assert any('no model is called "transfromer" (did you mean "transformer"?)' in line for line in lines)
    assert any(line.startswith("source.kind: missing; there are:") for line in lines)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("data.topics", 4, "data.topics: 4 topics (held-out ones included) are more than the 3 that coins lists"),
        ("evaluation.length", 9, "evaluation.length: 9 is longer than the model's context of 8; set model.context = 9"),
        ("evaluation.topics", 17, "evaluation.topics: 17 is more than evaluation.sequences = 16"),
        ("model.heads", 3, "model.heads: 3 does not divide width = 8"),
        ("metrics", [{"kind": "loss"}, {"kind": "loss"}], 'metrics[1]: a second metric is called "loss"'),
        ("seeds", {"topics": "a"}, 'seeds.topics: expected an integer, got "a" (str)'),
        ("execution.workers", -1, "execution.workers: -1 is out of range; allowed: at least 0"),
        ("prior", {"modle": {}}, "prior.modle: unknown key; allowed: source, data, model, trainer, seeds, grow"),
        ("trainer.learning_rate", float("nan"), "trainer.learning_rate: nan is not a setting"),
        ("trainer.learning_rate", float("inf"), "trainer.learning_rate: inf is not a setting"),
        ("trainer.learning_rate", 10**400, "trainer.learning_rate: expected a number, got 1000"),
        ("store.path", "a\0b", "store.path: expected a path"),
        ("metrics", [], "metrics: at least one is needed"),
        ("metrics", [{"kind": "loss", "name": "a/b"}], "metrics[0].name: is made of letters"),
        ("a\nb", 1, "a\\nb: unknown key"),
    ],
)
def test_what_single_mistakes_say(found, tiny, path, value, said):
    tables = config.patch(tiny, path.split("."), value)
    assert any(line.startswith(said) for line in _problems(found, tables)), _problems(found, tables)


def test_what_tables_contradict_is_told_beside_what_is_wrong_inside_them(found, tiny):
    tiny["model"]["widht"] = 3
    tiny["data"]["topics"] = 9
    assert [line.partition(":")[0] for line in _problems(found, tiny)] == ["model.widht", "data.topics"]


def test_longer_evaluation_is_fine_without_learned_positions(found, tiny):
    tiny["evaluation"]["length"] = 20
    tiny["model"]["positions"] = "rope"
    plan.load(None, tiny, found)
    tiny["model"] = {"kind": "lstm", "width": 8}
    plan.load(None, tiny, found)


def test_overrides_are_toml_values_or_words():
    raw = config.override({"model": {"layers": 1}}, ("model.layers=4", "data.topics=fresh", "seed = 3"))
    assert raw == {"model": {"layers": 4}, "data": {"topics": "fresh"}, "seed": 3}


def test_the_key_of_an_override_may_be_quoted_in_part():
    raw = {"sweep": {"data.topics": [1, 4], "seed": [0, 1]}}
    assert config.override(raw, ('sweep."data.topics"=[4]',)) == {"sweep": {"data.topics": [4], "seed": [0, 1]}}
    assert config.override(raw, ("sweep.'data.topics' = [4]",))["sweep"]["data.topics"] == [4]
    with pytest.raises(UsageError, match=r'--set sweep\."data=1: '):
        config.override(raw, ('sweep."data=1',))


def test_a_changed_kind_replaces_its_table():
    base = {"model": {"kind": "transformer", "heads": 2, "width": 8}}
    assert config.merge(base, {"model": {"width": 16}})["model"]["heads"] == 2
    assert config.merge(base, {"model": {"kind": "lstm"}})["model"] == {"kind": "lstm"}


def _id(found, tables):
    return plan.load(None, tables, found).trainings[0].id


def test_identity_is_what_shapes_the_weights(found, tiny):
    same = _id(found, tiny)
    for path, value in [
        ("title", "other"),
        ("execution.workers", 2),
        ("evaluation.sequences", 99),
        ("seeds.evaluation", 5),
        ("data.holdout.sequences", 3),
        ("data.topics", "fresh"),  # a default written out
        ("model.mlp", 4),
        ("model.context", 8),
    ]:
        assert _id(found, config.patch(tiny, path.split("."), value)) == same, path
    for path, value in [
        ("seed", 1),
        ("seeds.model", 1),
        ("data.topics", 2),
        ("data.bos", False),
        ("model.layers", 2),
        ("trainer.steps", 7),
        ("source.biases", [0.2, 0.5, 0.8]),
        ("prior", {"data": {"topics": 1}}),
    ]:
        assert _id(found, config.patch(tiny, path.split("."), value)) != same, path


def test_prior_is_a_training_of_its_own_shared_by_cells(found, tiny):
    tiny |= {
        "prior": {"data": {"topics": 1}, "trainer": {"steps": 3}},
        "sweep": {"trainer.learning_rate": [1e-3, 1e-2]},
    }
    tiny["prior"]["trainer"]["learning_rate"] = 1e-3
    made = plan.load(None, tiny, found)
    priors = {training.prior.id for training in made.trainings if training.prior}
    assert len(made.trainings) == 3
    assert len(priors) == 1
    assert made.trainings[0].id in priors  # first in order
    assert made.trainings[0].config.data.topics == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from([*config.TABLES, "sweep", "kind", "biases", "topics", "data.topics", "zip", "choices", "junk"])
_TABLE = st.dictionaries(_KEYS, _JSON | st.dictionaries(_KEYS, _JSON, max_size=4), max_size=6)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=_TABLE, graft=st.booleans())
def test_junk_is_never_more_than_a_config_error(found, tiny, junk, graft):
    tables = config.merge(tiny, junk) if graft else junk
    try:
        plan.load(None, tables, found)
    except ConfigError as error:
        assert error.problems
