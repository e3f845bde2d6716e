"""The keys of configs, told from the specs: names, types in words, defaults, limits."""

import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs
from attrs import evolve, frozen

from iclkit.config import Seeds
from iclkit.specs import Component
from iclkit.strict import range_text

CONFIGURABLE = {
    "source": "source",
    "model": "model",
    "trainer": "trainer",
    "metric": "metrics",
    "executor": "execution",
}
"""Kinds of components that a config names -> the table that does."""

ABOUT = {
    "source": "What sequences are drawn from: a source that knows its own truth.",
    "model": "What is trained.",
    "trainer": "How it is trained.",
    "metric": "What is measured of every snapshot. A second one of a kind needs a name.",
    "executor": "Where trainings run; part of no result.",
}
SEEDS_ABOUT = "Seeds of the independent streams; each can be swept."
DATA_ABOUT = "How much of the source the model may see."
HOLDOUT_ABOUT = "Units after the K (N) that no trainer can reach; certificates alone read them."
EVALUATION_ABOUT = "On how much of which data the snapshots are measured."
STORE_ABOUT = "Where a run lives and what it keeps."
_WORDS = {int: "integer", float: "number", bool: "true or false", str: "string", Path: "path"}
_FACTORY: Any = attrs.Factory


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
    sample: Any = None

    @property
    def optional(self) -> bool:
        """Whether the key is absent by default, so that it has no value to show."""
        return self.default is None


TITLE = Key(name="title", type=str, doc="what the run is called", default="")
SEED = Key(name="seed", type=int, doc="of everything random; see [seeds]", default=0)
CONTEXT = Key(
    name="context",
    type=int | None,
    doc="the model's longest input, tokens",
    fallback="data.length",
    limits={"at_least": 1},
)
WORKERS = Key(name="workers", type=int, doc="worker processes; 0: one per core", default=0, limits={"at_least": 0})
NAME = Key(name="name", type=str | None, doc="what its results are called", fallback="its kind")
GROW = Key(name="grow", type=str | None, doc="how weights are carried over where shapes differ, such as identity-block")


def keys(spec: Any) -> list[dict[str, Any]]:
    """Return the keys of a component in words, for tables; none for what a config cannot name."""
    if not hasattr(spec, "config"):
        return []
    return [row(key) for key in keys_of(spec.config)]


def type_words(kind: Any) -> str:
    """Say a type in words, such as: integer, integer or "fresh", list of numbers."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(type_words(member) for member in inner if member is not types.NoneType)
    if origin is tuple:
        many = "" if inner[1:] == (Ellipsis,) else f"{len(inner)} "
        return f"list of {many}{plural(type_words(inner[0]))}"
    if origin is Annotated:
        return f"{kind.__metadata__[0]} table"
    return _WORDS.get(kind, "table")


def keys_of(cls: type) -> list[Key]:
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
                sample=field.metadata.get("sample"),
            )
        )
    return made


def seed_keys() -> list[Key]:
    """Return the keys of [seeds], which default to `seed`."""
    return [evolve(key, required=False, default=0, fallback="seed") for key in keys_of(Seeds)]


def row(key: Key) -> dict[str, Any]:
    """Return a key in words, for tables and JSON."""
    shown = attrs.has(type(key.default)) or isinstance(key.default, Component)
    default = "required" if key.required else "" if key.optional or shown else toml(key.default)
    return {
        "key": key.name,
        "type": type_words(key.type),
        "default": default,
        "limits": range_text(key.limits),
        "doc": key.doc,
    }


def type_and_limits(key: Key) -> str:
    """Say a key's type and limits."""
    limits = range_text(key.limits)
    return f"{type_words(key.type)}{f', {limits}' if limits else ''}"


def plural(words: str) -> str:
    """Say words in the plural: "list of numbers" -> "lists of numbers", "source table" -> "source tables"."""
    if words.startswith('"'):
        return words  # names to choose from
    noun, of, rest = words.partition(" of ")
    return f"{noun}s{of}{rest}"


def cell(text: str) -> str:
    """Return text that may stand in a Markdown table."""
    return text.replace("|", "\\|")


def toml(value: Any) -> str:
    """Write a value in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return repr(value)
