"""The commented example: a valid config that holds every table and key."""

import json
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs

from iclkit.config import Data, Evaluation, Holdout, Store
from iclkit.manual.keys import (
    ABOUT,
    CONFIGURABLE,
    CONTEXT,
    DATA_ABOUT,
    EVALUATION_ABOUT,
    HOLDOUT_ABOUT,
    NAME,
    SEED,
    SEEDS_ABOUT,
    STORE_ABOUT,
    TITLE,
    WORKERS,
    Key,
    keys_of,
    seed_keys,
    toml,
    type_and_limits,
)
from iclkit.registry import Registry
from iclkit.strict import Problems, Structurer


def example(registry: Registry) -> str:
    """Return a valid config in TOML that holds every table and key, what is not the default commented out."""
    blocks = [
        "# Every table and key of an iclkit config. It is valid as it stands: what is not commented out has its\n"
        "# default, what is (such as `# clip = 1.0`) is absent by default and shows its form.",
        "\n".join(_lines([TITLE, SEED])),
        _block("seeds", SEEDS_ABOUT, seed_keys(), commented=True),
        _components(registry, "source"),
        _block("data", DATA_ABOUT, keys_of(Data)),
        _block("data.holdout", HOLDOUT_ABOUT, keys_of(Holdout)),
        _components(registry, "model", [CONTEXT]),
        _components(registry, "trainer"),
        _PRIOR_EXAMPLE,
        _block("evaluation", EVALUATION_ABOUT, keys_of(Evaluation)),
        _components(registry, "metric", [NAME]),
        _SWEEP_EXAMPLE,
        _components(registry, "executor", [WORKERS]),
        _block("store", STORE_ABOUT, keys_of(Store)),
    ]
    return "\n\n".join(blocks) + "\n"


_PRIOR_EXAMPLE = """\
# A training that runs first, shared by all cells that need it; its weights start the main one. Its tables override
# those above.
# [prior]
# data = { topics = 2 }
# model = { width = 32 }
# trainer = { steps = 100 }
# grow = "copy-pad"            # how weights are carried over where shapes differ"""

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
        lines = [_line("kind", json.dumps(spec.name), spec.summary), *_lines([*keys_of(spec.config), *extra])]
        block = [header, *lines]
        if spec is chosen:
            block.insert(0, f"# {ABOUT[kind]}")
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
        value = _value(key)
        said = [type_and_limits(key), *([f"{key.fallback} if absent"] if key.fallback else [])]
        line = _line(key.name, value, f"{key.doc} ({'; '.join(said)}{'; required' if key.required else ''})")
        yield f"# {line}" if key.optional else line


def _line(name: str, value: str, comment: str) -> str:
    return f"{f'{name} = {value}':<30} # {comment}"


def _value(key: Key) -> str:
    """Return what stands behind a key: its default, or a sample of its form."""
    if not key.optional:
        return toml(key.default)
    return _sample(key.type, key.limits) if key.sample is None else toml(key.sample)


def _sample(kind: Any, limits: Mapping[str, float]) -> str:
    """Return a value of a type within limits, in TOML, for keys that are absent by default."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _sample(next(member for member in inner if member is not types.NoneType), limits)
    if origin is Literal:
        return toml(inner[0])
    if origin is tuple:
        return f"[{_sample(inner[0], limits)}]"
    if origin is Annotated:
        return "{ kind = ... }"
    if kind is float:
        low, high = _bounds(limits)
        return toml((low + high) / 2 if low is not None and high is not None else (low or 0) + 1.0)
    if kind is int:
        low, high = _bounds(limits)
        return toml(int(min(max(8, low or 8), high or 8)))
    return {bool: "true", str: '"..."', Path: '"..."'}.get(kind, "{}")


def _bounds(limits: Mapping[str, float]) -> tuple[float | None, float | None]:
    return limits.get("at_least", limits.get("above")), limits.get("at_most", limits.get("below"))
