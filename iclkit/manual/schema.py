"""The JSON schema of configs, for editors."""

import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs

from iclkit.config import Data, Evaluation, Store
from iclkit.manual.keys import (
    ABOUT,
    CONTEXT,
    DATA_ABOUT,
    EVALUATION_ABOUT,
    GROW,
    NAME,
    SEED,
    SEEDS_ABOUT,
    STORE_ABOUT,
    TITLE,
    WORKERS,
    Key,
    keys_of,
    seed_keys,
)
from iclkit.registry import Registry

_SCHEMA_LIMITS = {
    "at_least": "minimum",
    "above": "exclusiveMinimum",
    "at_most": "maximum",
    "below": "exclusiveMaximum",
}


def schema(registry: Registry) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of configs with the components that are installed."""
    definitions: dict[str, Any] = {}
    for kind, extra in {
        "source": [],
        "model": [CONTEXT],
        "trainer": [],
        "metric": [NAME],
        "executor": [WORKERS],
    }.items():
        names = registry.names(kind)
        definitions[kind] = {
            "description": ABOUT[kind],
            "oneOf": [{"$ref": f"#/$defs/{kind}.{name}"} for name in names],
        }
        for entry in registry.all(kind):
            definitions[f"{kind}.{entry.spec.name}"] = _component_schema(entry.spec, extra)
    definitions["data"] = _table_schema(keys_of(Data), DATA_ABOUT)
    definitions["seeds"] = _table_schema(seed_keys(), SEEDS_ABOUT)
    patch = {"type": "object", "description": "keys that differ in the prior"}
    tables = {
        "title": _key_schema(TITLE),
        "seed": _key_schema(SEED),
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
                "source": patch,
                "data": {"$ref": "#/$defs/data"},
                "model": patch,
                "trainer": patch,
                "seeds": {"$ref": "#/$defs/seeds"},
                "grow": _key_schema(GROW),
            },
        },
        "evaluation": _table_schema(keys_of(Evaluation), EVALUATION_ABOUT),
        "metrics": {"type": "array", "items": {"$ref": "#/$defs/metric"}},
        "sweep": _SWEEP_SCHEMA,
        "execution": {"$ref": "#/$defs/executor"},
        "store": _table_schema(keys_of(Store), STORE_ABOUT),
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
    made = _table_schema([*keys_of(spec.config), *extra], spec.summary)
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
        return _table_schema(keys_of(kind), "")
    return {"type": {bool: "boolean", str: "string", Path: "string"}.get(kind, "object")}
