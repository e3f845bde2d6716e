"""What can be written in a config, and that it can indeed."""

import json
import tomllib
from pathlib import Path

import pytest

from iclkit import manual, plan, plugins
from iclkit.config import Data, Evaluation, Seeds, Store
from iclkit.errors import ConfigError


@pytest.fixture(scope="module")
def found():
    return plugins.load()


def test_example_is_a_valid_config(call, tmp_path):
    code, text, _ = call("config", "example")
    assert code == 0
    path = tmp_path / "example.toml"
    path.write_text(text)
    assert call("check", path)[0] == 0


def test_example_names_every_table_and_key(found):
    text = manual.example(found.registry)
    raw = tomllib.loads(text)
    assert set(raw) == {
        "title",
        "seed",
        "source",
        "data",
        "model",
        "trainer",
        "evaluation",
        "metrics",
        "execution",
        "store",
    }
    for cls in (Seeds, Data, Evaluation, Store):
        for field in cls.__attrs_attrs__:
            assert f"{field.name} = " in text or f"[data.{field.name}]" in text, field.name
    for kind in manual.CONFIGURABLE:
        for entry in found.registry.all(kind):
            assert f'kind = "{entry.spec.name}"' in text
            for field in entry.spec.config.__attrs_attrs__:
                assert f"{field.name} = " in text


def test_example_has_the_defaults(found):
    """What is written out changes nothing: without it the plan is the same."""
    raw = tomllib.loads(manual.example(found.registry))
    whole = plan.load(None, raw, found)
    bare = plan.load(None, {"source": {"kind": raw["source"]["kind"]}}, found)
    assert [training.id for training in whole.trainings] == [training.id for training in bare.trainings]
    assert [one.id for one in whole.passes] == [one.id for one in bare.passes]


def test_uncommented_lines_of_defaults_are_valid(found):
    """A key that is absent by default can be commented in where it stands, one at a time.

    Some go with other settings only, such as a temperature with noise: then the config says so, and what is allowed.
    """
    lines = manual.example(found.registry).splitlines()
    table, tried = "", 0
    for place, line in enumerate(lines):
        if line.startswith("["):
            table = line
        if not line:
            table = ""
        if table in ("[model]", "[trainer]", "[evaluation]", "[store]") and line.startswith("# "):
            text = "\n".join([*lines[:place], line[2:], *lines[place + 1 :]])
            raw = tomllib.loads(text)
            raw["data"]["length"] = 8
            try:
                plan.load(None, raw, found)
            except ConfigError as error:
                for problem in error.problems:
                    assert "allowed with" in problem.message, problem
            tried += 1
    assert tried >= 4


def _matches(value, schema, root):
    """Whether a value is valid under the parts of JSON schema that `manual.schema` uses."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    for name, count in (("oneOf", lambda n: n == 1), ("anyOf", lambda n: n >= 1)):
        if name in schema and not count(sum(_matches(value, option, root) for option in schema[name])):
            return False
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
    if "type" in schema:
        wanted = kinds[schema["type"]]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            return False
        if value <= schema.get("exclusiveMinimum", value - 1) or value >= schema.get("exclusiveMaximum", value + 1):
            return False
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0) or len(value) > schema.get("maxItems", len(value)):
            return False
        return "items" not in schema or all(_matches(item, schema["items"], root) for item in value)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        if any(name not in value for name in schema.get("required", ())):
            return False
        extra = schema.get("additionalProperties", {})
        for name, item in value.items():
            inner = properties.get(name, extra)
            if inner is False or not _matches(item, inner or {}, root):
                return False
    return True


def test_schema_accepts_good_and_refuses_bad(call, found):
    code, text, _ = call("config", "schema")
    assert code == 0
    schema = json.loads(text)
    assert schema["$schema"].endswith("2020-12/schema")
    example = tomllib.loads(manual.example(found.registry))
    assert _matches(example, schema, schema)
    quickstart = tomllib.loads((Path(__file__).parents[2] / "examples" / "quickstart.toml").read_text())
    assert _matches(quickstart, schema, schema)
    assert _matches({"source": {"kind": "coins"}, "sweep": {"seed": [0, 1]}}, schema, schema)
    for bad in (
        {},
        {"source": {}},
        {"source": {"kind": "coinz"}},
        {"source": {"kind": "coins", "alpha": 0}},
        {"source": {"kind": "coins", "x": 0.1}},
        {"source": {"kind": "coins"}, "data": {"topics": "frsh"}},
        {"source": {"kind": "coins"}, "model": {"width": 2.5}},
        {"source": {"kind": "coins"}, "sweep": {"seed": []}},
        {"source": {"kind": "coins"}, "bogus": 1},
    ):
        assert not _matches(bad, schema, schema), bad


def test_reference_has_a_section_for_every_component(found):
    pages = manual.reference(found.registry)
    for kind in manual.CONFIGURABLE:
        page = pages[f"{kind}s"]
        for entry in found.registry.all(kind):
            assert f"\n## {entry.spec.name}\n" in page
            assert entry.spec.summary in page
            for field in entry.spec.config.__attrs_attrs__:
                assert f"| `{field.name}` |" in page
    assert "| `length` | integer | `64` | at least 1 |" in pages["config"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "integer"),
        (int | None, "integer"),
        (float | str, "number or string"),
        (tuple[tuple[float, ...], ...], "list of lists of numbers"),
        (bool, "true or false"),
    ],
)
def test_types_in_words(kind, words):
    assert manual.type_words(kind) == words


def test_plugins_show_tells_the_keys(call):
    code, out, _ = call("plugins", "show", "transformer")
    assert code == 0
    assert "width of the residual stream" in out
    _, text, _ = call("plugins", "show", "transformer", "--json")
    keys = {key["key"]: key for key in json.loads(text)["components"][0]["keys"]}
    assert keys["width"]["type"] == "integer"
    assert keys["width"]["limits"] == "at least 1"
