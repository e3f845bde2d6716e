"""What can be written in a config, told from the specs: a commented example, a JSON schema, reference pages."""

import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs
from attrs import evolve, frozen

from iclkit.config import Data, Evaluation, Holdout, Seeds, Store
from iclkit.registry import Registry
from iclkit.specs import Component
from iclkit.strict import Problems, Structurer, range_text

CONFIGURABLE = {
    "source": "source",
    "model": "model",
    "trainer": "trainer",
    "metric": "metrics",
    "executor": "execution",
}
"""Kinds of components that a config names -> the table that does."""

_ABOUT = {
    "source": "What sequences are drawn from: a source that knows its own truth.",
    "model": "What is trained.",
    "trainer": "How it is trained.",
    "metric": "What is measured of every snapshot. A second one of a kind needs a name.",
    "executor": "Where trainings run; part of no result.",
}
_SEEDS_ABOUT = "Seeds of the independent streams; each can be swept."
_DATA_ABOUT = "How much of the source the model may see."
_HOLDOUT_ABOUT = "Units after the K (N) that no trainer can reach; certificates alone read them."
_EVALUATION_ABOUT = "On how much of which data the snapshots are measured."
_STORE_ABOUT = "Where a run lives and what it keeps."
_WORDS = {int: "integer", float: "number", bool: "true or false", str: "string", Path: "path"}
_FACTORY: Any = attrs.Factory
_SCHEMA_LIMITS = {
    "at_least": "minimum",
    "above": "exclusiveMinimum",
    "at_most": "maximum",
    "below": "exclusiveMaximum",
}


@frozen(kw_only=True)
class Key:
    """One key of a table: its type, what it is, its default (None where there is none) and its limits."""

    name: str
    type: Any
    doc: str
    default: Any = None
    required: bool = False
    limits: Mapping[str, float] = {}
    fallback: str = ""

    @property
    def optional(self) -> bool:
        """Whether the key is absent by default, so that it has no value to show."""
        return self.default is None


_TITLE = Key(name="title", type=str, doc="what the run is called", default="")
_SEED = Key(name="seed", type=int, doc="of everything random; see [seeds]", default=0)
_CONTEXT = Key(
    name="context",
    type=int | None,
    doc="the model's longest input, tokens",
    fallback="data.length",
    limits={"at_least": 1},
)
_WORKERS = Key(name="workers", type=int, doc="worker processes; 0: one per core", default=0, limits={"at_least": 0})
_NAME = Key(name="name", type=str | None, doc="what its results are called", fallback="its kind")
_GROW = Key(name="grow", type=str | None, doc="how weights are carried over where shapes differ, such as net2net")


def keys(spec: Any) -> list[dict[str, Any]]:
    """Return the keys of a component in words, for tables; none for what a config cannot name."""
    if not hasattr(spec, "config"):
        return []
    return [_row(key) for key in _keys_of(spec.config)]


def type_words(kind: Any) -> str:
    """Say a type in words, such as: integer, integer or "fresh", list of numbers."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(type_words(member) for member in inner if member is not types.NoneType)
    if origin is tuple:
        many = "" if inner[1:] == (Ellipsis,) else f"{len(inner)} "
        return f"list of {many}{_plural(type_words(inner[0]))}"
    if origin is Annotated:
        return f"{kind.__metadata__[0]} table"
    return _WORDS.get(kind, "table")


# ---------------------------------------------------------------- the commented example


def example(registry: Registry) -> str:
    """Return a valid config in TOML that holds every table and key, what is not the default commented out."""
    blocks = [
        "# Every table and key of an iclkit config. It is valid as it stands: what is not commented out has its\n"
        "# default, what is (such as `# clip = 1.0`) is absent by default and shows its form.",
        "\n".join(_lines([_TITLE, _SEED])),
        _block("seeds", _SEEDS_ABOUT, _seed_keys(), commented=True),
        _components(registry, "source"),
        _block("data", _DATA_ABOUT, _keys_of(Data)),
        _block("data.holdout", _HOLDOUT_ABOUT, _keys_of(Holdout)),
        _components(registry, "model", [_CONTEXT]),
        _components(registry, "trainer"),
        _PRIOR_EXAMPLE,
        _block("evaluation", _EVALUATION_ABOUT, _keys_of(Evaluation)),
        _components(registry, "metric", [_NAME]),
        _SWEEP_EXAMPLE,
        _components(registry, "executor", [_WORKERS]),
        _block("store", _STORE_ABOUT, _keys_of(Store)),
    ]
    return "\n\n".join(blocks) + "\n"


_PRIOR_EXAMPLE = """\
# A training that runs first, shared by all cells that need it; its weights start the main one. Its tables override
# those above.
# [prior]
# data = { topics = 2 }
# model = { width = 32 }
# trainer = { steps = 100 }
# grow = "net2net"             # how weights are carried over where shapes differ"""

_SWEEP_EXAMPLE = """\
# Each entry is a dimension of the cube; every combination is a cell.
# [sweep]
# "data.topics" = [1, 2, 4]
# seed = [0, 1, 2, 3]
# budget = { zip = { "data.sequences" = [64, 16], "data.length" = [16, 64] } }   # keys that move together
# [sweep.architecture.choices]                                                   # labelled changes
# lstm = { model = { kind = "lstm" } }
# transformer = {}"""


def _components(registry: Registry, kind: str, extra: Iterable[Key] = ()) -> str:
    """Return the blocks of one kind: the default one as it is, the others commented out."""
    table = CONFIGURABLE[kind]
    header = f"[[{table}]]" if kind == "metric" else f"[{table}]"
    specs = [entry.spec for entry in registry.all(kind)]
    chosen = _chosen(registry, kind)
    blocks = []
    for spec in sorted(specs, key=lambda spec: spec is not chosen):
        lines = [_line("kind", json.dumps(spec.name), spec.summary), *_lines([*_keys_of(spec.config), *extra])]
        block = [header, *lines]
        if spec is chosen:
            block.insert(0, f"# {_ABOUT[kind]}")
        else:
            block = [line if line.startswith("#") else f"# {line}" for line in block]
        blocks.append("\n".join(block))
    return "\n\n".join(blocks)


def _chosen(registry: Registry, kind: str) -> Any:
    """Return the default of a kind, or else the first that needs no key."""
    default = registry.default(kind)
    if default is not None:
        return default.spec
    structurer = Structurer(registry, Path())
    for entry in registry.all(kind):
        try:
            structurer.component(kind, {"kind": entry.spec.name})
        except Problems:
            continue
        return entry.spec
    return None


def _block(table: str, about: str, keys: Iterable[Key], commented: bool = False) -> str:
    lines = [f"[{table}]", *_lines(keys)]
    if commented:
        lines = [line if line.startswith("#") else f"# {line}" for line in lines]
    return "\n".join([f"# {about}", *lines])


def _lines(keys: Iterable[Key]) -> Iterator[str]:
    for key in keys:
        if attrs.has(key.type if isinstance(key.type, type) else type(None)):
            continue  # a table of its own
        value = _sample(key.type, key.limits) if key.optional else _toml(key.default)
        said = [_type_and_limits(key), *([f"{key.fallback} if absent"] if key.fallback else [])]
        line = _line(key.name, value, f"{key.doc} ({'; '.join(said)}{'; required' if key.required else ''})")
        yield f"# {line}" if key.optional else line


def _line(name: str, value: str, comment: str) -> str:
    return f"{f'{name} = {value}':<30} # {comment}"


def _sample(kind: Any, limits: Mapping[str, float]) -> str:
    """Return a value of a type within limits, in TOML, for keys that are absent by default."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _sample(next(member for member in inner if member is not types.NoneType), limits)
    if origin is Literal:
        return _toml(inner[0])
    if origin is tuple:
        return f"[{_sample(inner[0], limits)}]"
    if origin is Annotated:
        return "{ kind = ... }"
    if kind is float:
        low, high = _bounds(limits)
        return _toml((low + high) / 2 if low is not None and high is not None else (low or 0) + 1.0)
    if kind is int:
        low, high = _bounds(limits)
        return _toml(int(min(max(8, low or 8), high or 8)))
    return {bool: "true", str: '"..."', Path: '"..."'}.get(kind, "{}")


def _bounds(limits: Mapping[str, float]) -> tuple[float | None, float | None]:
    return limits.get("at_least", limits.get("above")), limits.get("at_most", limits.get("below"))


def _toml(value: Any) -> str:
    """Write a value in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)


# ---------------------------------------------------------------- the JSON schema


def schema(registry: Registry) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of configs with the components that are installed."""
    definitions: dict[str, Any] = {}
    for kind, extra in {
        "source": [],
        "model": [_CONTEXT],
        "trainer": [],
        "metric": [_NAME],
        "executor": [_WORKERS],
    }.items():
        names = registry.names(kind)
        definitions[kind] = {
            "description": _ABOUT[kind],
            "oneOf": [{"$ref": f"#/$defs/{kind}.{name}"} for name in names],
        }
        for entry in registry.all(kind):
            definitions[f"{kind}.{entry.spec.name}"] = _component_schema(entry.spec, extra)
    definitions["data"] = _table_schema(_keys_of(Data), _DATA_ABOUT)
    definitions["seeds"] = _table_schema(_seed_keys(), _SEEDS_ABOUT)
    patch = {"type": "object", "description": "keys that differ in the prior"}
    tables = {
        "title": _key_schema(_TITLE),
        "seed": _key_schema(_SEED),
        "seeds": {"$ref": "#/$defs/seeds"},
        "source": {"$ref": "#/$defs/source"},
        "data": {"$ref": "#/$defs/data"},
        "model": {"$ref": "#/$defs/model"},
        "trainer": {"$ref": "#/$defs/trainer"},
        "prior": {
            "description": "Overrides of the tables for a training that runs first; its weights start the main one.",
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "data": {"$ref": "#/$defs/data"},
                "model": patch,
                "trainer": patch,
                "seeds": {"$ref": "#/$defs/seeds"},
                "grow": _key_schema(_GROW),
            },
        },
        "evaluation": _table_schema(_keys_of(Evaluation), _EVALUATION_ABOUT),
        "metrics": {"type": "array", "items": {"$ref": "#/$defs/metric"}},
        "sweep": _SWEEP_SCHEMA,
        "execution": {"$ref": "#/$defs/executor"},
        "store": _table_schema(_keys_of(Store), _STORE_ABOUT),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "iclkit config",
        "type": "object",
        "additionalProperties": False,
        "required": [] if registry.default("source") else ["source"],
        "properties": tables,
        "$defs": definitions,
    }


_SWEEP_SCHEMA: dict[str, Any] = {
    "description": "Each entry is a dimension of the cube.",
    "type": "object",
    "additionalProperties": {
        "anyOf": [
            {"type": "array", "minItems": 1},
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["zip"],
                "properties": {
                    "zip": {"type": "object", "additionalProperties": {"type": "array", "minItems": 1}},
                },
            },
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["choices"],
                "properties": {"choices": {"type": "object", "additionalProperties": {"type": "object"}}},
            },
        ]
    },
}


def _component_schema(spec: Any, extra: Iterable[Key]) -> dict[str, Any]:
    made = _table_schema([*_keys_of(spec.config), *extra], spec.summary)
    made["properties"] = {"kind": {"const": spec.name}, **made["properties"]}
    if not spec.default:
        made["required"] = ["kind", *made["required"]]
    return made


def _table_schema(keys: Iterable[Key], about: str) -> dict[str, Any]:
    keys = list(keys)
    return {
        "description": about,
        "type": "object",
        "additionalProperties": False,
        "required": [key.name for key in keys if key.required],
        "properties": {key.name: _key_schema(key) for key in keys},
    }


def _key_schema(key: Key) -> dict[str, Any]:
    made = {"description": key.doc, **_type_schema(key.type, key.limits)}
    if key.default is not None and not attrs.has(type(key.default)):
        made["default"] = str(key.default) if isinstance(key.default, Path) else key.default
    return made


def _type_schema(kind: Any, limits: Mapping[str, float]) -> dict[str, Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        members = [_type_schema(member, limits) for member in inner if member is not types.NoneType]
        return members[0] if len(members) == 1 else {"anyOf": members}
    if origin is tuple:
        if inner[1:] == (Ellipsis,):
            return {"type": "array", "items": _type_schema(inner[0], limits)}
        prefix = [_type_schema(member, limits) for member in inner]
        return {"type": "array", "prefixItems": prefix, "minItems": len(inner), "maxItems": len(inner)}
    if origin is Annotated:
        return {"$ref": f"#/$defs/{kind.__metadata__[0]}"}
    if kind in (int, float):
        bounds = {_SCHEMA_LIMITS[name]: value for name, value in limits.items()}
        return {"type": "integer" if kind is int else "number", **bounds}
    if attrs.has(kind):
        return _table_schema(_keys_of(kind), "")
    return {"type": {bool: "boolean", str: "string", Path: "string"}.get(kind, "object")}


# ---------------------------------------------------------------- the reference


def reference(registry: Registry) -> dict[str, str]:
    """Return Markdown pages by name: `config` with the fixed tables, and one page for each kind of component."""
    pages = {"config": _config_page()}
    for kind, table in CONFIGURABLE.items():
        sections = [_component_section(entry.spec) for entry in registry.all(kind)]
        head = f"# {_plural(kind).capitalize()}\n\n{_ABOUT[kind]} Chosen by `kind` in `[{table}]`."
        pages[_plural(kind)] = "\n\n".join([head, *sections]) + "\n"
    for kind in ("figure", "check", "command"):
        rows = [f"| `{entry.spec.name}` | {_cell(entry.spec.summary)} |" for entry in registry.all(kind)]
        if rows:
            pages[_plural(kind)] = "\n".join(
                [f"# {_plural(kind).capitalize()}\n", "| name | what |", "|---|---|", *rows, ""]
            )
    return pages


def _config_page() -> str:
    tables = {
        "the top": ("Before any table.", [_TITLE, _SEED]),
        "[seeds]": (_SEEDS_ABOUT, _seed_keys()),
        "[data]": (_DATA_ABOUT, _keys_of(Data)),
        "[data.holdout]": (_HOLDOUT_ABOUT, _keys_of(Holdout)),
        "[model]": ("Beside the keys of the model.", [_CONTEXT]),
        "[prior]": ("Overrides of `data`, `model`, `trainer`, `seeds` for a training that runs first.", [_GROW]),
        "[evaluation]": (_EVALUATION_ABOUT, _keys_of(Evaluation)),
        "[[metrics]]": ("Beside the keys of the metric.", [_NAME]),
        "[execution]": ("Beside the keys of the executor.", [_WORKERS]),
        "[store]": (_STORE_ABOUT, _keys_of(Store)),
    }
    sections = [
        f"## {name if name == 'the top' else f'`{name}`'}\n\n{about}\n\n{_key_table(keys)}"
        for name, (about, keys) in tables.items()
    ]
    return "\n\n".join(["# Config", *sections]) + "\n"


def _component_section(spec: Any) -> str:
    said = " This is the default." if spec.default else ""
    parts = [f"## {spec.name}", f"{spec.summary}{said}"]
    keys = _keys_of(spec.config)
    parts.append(_key_table(keys) if keys else "It has no keys.")
    variables = getattr(spec, "variables", ())
    if variables:
        rows = [f"| `{one.name}` | {', '.join(one.dims)} | {one.units} | {_cell(one.long_name)} |" for one in variables]
        parts.append("\n".join(["| variable | dims | units | what |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _key_table(keys: Iterable[Key]) -> str:
    lines = ["| key | type | default | limits | what |", "|---|---|---|---|---|"]
    for key in keys:
        row = _row(key)
        default = row["default"] if key.required or not row["default"] else f"`{row['default']}`"
        default = key.fallback if key.fallback else default
        lines.append(f"| `{row['key']}` | {_cell(row['type'])} | {default} | {row['limits']} | {_cell(row['doc'])} |")
    return "\n".join(lines)


# ---------------------------------------------------------------- what the specs say


def _keys_of(cls: type) -> list[Key]:
    """Return the keys of an attrs class."""
    made = []
    for field in attrs.fields(attrs.resolve_types(cls, include_extras=True)):
        required = field.default is attrs.NOTHING
        default = None if required else field.default
        if isinstance(default, _FACTORY):
            default = None if default.takes_self else default.factory()
        made.append(
            Key(
                name=field.name,
                type=typing.Any if field.type is None else field.type,
                doc=field.metadata.get("doc", ""),
                default=default,
                required=required,
                limits=field.metadata.get("limits", {}),
            )
        )
    return made


def _seed_keys() -> list[Key]:
    return [evolve(key, required=False, default=0, fallback="seed") for key in _keys_of(Seeds)]


def _row(key: Key) -> dict[str, Any]:
    shown = attrs.has(type(key.default)) or isinstance(key.default, Component)
    default = "required" if key.required else "" if key.optional or shown else _toml(key.default)
    return {
        "key": key.name,
        "type": type_words(key.type),
        "default": default,
        "limits": range_text(key.limits),
        "doc": key.doc,
    }


def _type_and_limits(key: Key) -> str:
    limits = range_text(key.limits)
    return f"{type_words(key.type)}{f', {limits}' if limits else ''}"


def _plural(words: str) -> str:
    """Say words in the plural: "list of numbers" -> "lists of numbers", "source table" -> "source tables"."""
    noun, of, rest = words.partition(" of ")
    return f"{noun}s{of}{rest}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
