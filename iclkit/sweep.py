"""The `[sweep]` table -> axes -> cells. Each axis is a dimension of the cube.

`"data.topics" = [1, 2]` varies one key; `name = { zip = { ... } }` varies keys together; `[sweep.name.choices]`
gives labelled patches.
"""

import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from attrs import evolve, frozen

from iclkit.config import TABLES, merge, patch
from iclkit.errors import ConfigError, Problem

Label = int | float | str | bool


@frozen(kw_only=True)
class Axis:
    """One dimension of a sweep.

    Parameters
    ----------
    dim : its name in the cube.
    labels : its coordinate, one per entry.
    patches : for each entry the changes to the config's tables.
    companions : further coordinates along it, by path, for keys that move together.

    """

    dim: str
    labels: tuple[Label, ...]
    patches: tuple[Mapping[str, Any], ...]
    companions: Mapping[str, tuple[Label, ...]] = {}

    def __len__(self) -> int:
        return len(self.labels)


def axes(table: Any, reserved: Collection[str]) -> tuple[Axis, ...]:
    """Read the sweep table; raises ConfigError with every problem.

    `reserved` are the names a dimension may not take: an axis whose last word is among them, or is another axis'
    too, is called by its whole path joined with `_`.
    """
    if not isinstance(table, Mapping):
        raise ConfigError([Problem("sweep", "expected a table such as [sweep] seed = [0, 1]")])
    made: list[Axis] = []
    problems: list[Problem] = []
    for name, value in table.items():
        if not isinstance(name, str):
            problems.append(Problem("sweep", f"{name} is not the name of an axis"))
            continue
        path = f'sweep."{name}"' if "." in name else f"sweep.{name}"
        try:
            made.append(_axis(name, value))
        except ValueError as error:
            problems.append(Problem(path, str(error)))
    problems += _shared_keys(made)
    if problems:
        raise ConfigError(problems)
    return _named(made, reserved)


def _axis(name: str, value: Any) -> Axis:
    if not re.fullmatch(r"[A-Za-z][\w-]*(\.[A-Za-z][\w-]*)*", name):
        raise ValueError("an axis is called by letters, digits, - and _, or by the path of the key it varies")
    if isinstance(value, list):
        if not value:
            raise ValueError("an axis needs at least one value")
        return Axis(dim=name, labels=_distinct(_labels(value)), patches=tuple(_patch(name, item) for item in value))
    if isinstance(value, Mapping) and set(value) == {"zip"} and isinstance(value["zip"], Mapping) and value["zip"]:
        return _zipped(name, value["zip"])
    if (
        isinstance(value, Mapping)
        and set(value) == {"choices"}
        and isinstance(value["choices"], Mapping)
        and value["choices"]
    ):
        choices = value["choices"]
        wrong = [label for label, changes in choices.items() if not isinstance(changes, Mapping)]
        if wrong:
            raise ValueError(f"choice {wrong[0]} must be a table of changes, such as {{ model = {{ layers = 1 }} }}")
        return Axis(dim=name, labels=tuple(choices), patches=tuple(choices.values()))
    raise ValueError("expected a list of values, { zip = { path = [...], ... } } or { choices = { label = {...} } }")


def _zipped(name: str, columns: Mapping[str, Any]) -> Axis:
    lengths = {path: len(column) if isinstance(column, list) else 0 for path, column in columns.items()}
    if 0 in lengths.values() or len(set(lengths.values())) > 1:
        counts = ", ".join(f"{path} has {count}" for path, count in lengths.items())
        raise ValueError(f"keys that move together need lists of one length; {counts}")
    if "seed" in columns:
        raise ValueError("seed is a dimension of its own: sweep it beside, not in a zip")
    rows = list(zip(*columns.values(), strict=True))
    patches: list[Mapping[str, Any]] = []
    for row in rows:
        changes: dict[str, Any] = {}
        for path, item in zip(columns, row, strict=True):
            changes = merge(changes, _patch(path, item))
        patches.append(changes)
    told = [", ".join(f"{_last(path)}={item}" for path, item in zip(columns, row, strict=True)) for row in rows]
    labels = _distinct(tuple(told))  # a single key may have one value in several of them
    companions = {path: _labels(column) for path, column in columns.items()}
    return Axis(dim=name, labels=labels, patches=tuple(patches), companions=companions)


def _patch(path: str, value: Any) -> Mapping[str, Any]:
    if path.partition(".")[0] not in TABLES:
        raise ValueError(f"{path} is no key of a config; tables: {', '.join(TABLES)}")
    return patch({}, path.split("."), value)


def _labels(values: list[Any]) -> tuple[Label, ...]:
    """Numbers as they are, "fresh" as infinity, anything else as text."""
    made = [float("inf") if value == "fresh" else value for value in values]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in made)
    return tuple(made) if numeric else tuple(map(str, made))


def _distinct(labels: tuple[Label, ...]) -> tuple[Label, ...]:
    if len(set(labels)) < len(labels):
        raise ValueError("the same value stands twice")
    return labels


def _named(made: list[Axis], reserved: Collection[str]) -> tuple[Axis, ...]:
    short = [_last(axis.dim) for axis in made]
    named = []
    for axis, name in zip(made, short, strict=True):
        clash = name in reserved or short.count(name) > 1
        named.append(evolve(axis, dim=axis.dim.replace(".", "_") if clash else name))
    doubled = [axis.dim for axis in named if axis.dim in reserved]
    if doubled:
        raise ConfigError([Problem(f"sweep.{doubled[0]}", "this name is taken by a dimension or variable of the cube")])
    return tuple(named)


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def combinations(raw: Mapping[str, Any], made: tuple[Axis, ...]) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """Iterate over (index along every axis, patched tables), the last axis fastest."""
    for index in itertools.product(*(range(len(axis)) for axis in made)):
        yield index, patched(raw, made, index)


def patched(raw: Mapping[str, Any], made: tuple[Axis, ...], index: tuple[int, ...]) -> dict[str, Any]:
    """Return the tables of one cell.

    The axes' changes are gathered before they are merged in, so that a changed `kind` replaces the table it stands
    in but none of what other axes say of it.
    """
    changes: dict[str, Any] = {}
    for axis, place in zip(made, index, strict=True):
        changes = _overlay(changes, axis.patches[place])
    return merge(raw, changes)


def _overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both = isinstance(value, Mapping) and isinstance(old, Mapping)
        result[key] = _overlay(old, value) if both else value  # type: ignore[arg-type]
    return result


def _shared_keys(made: list[Axis]) -> Iterator[Problem]:
    """Find keys that two axes vary: the later one would hide the earlier."""
    owners: dict[tuple[str, ...], Axis] = {}
    for axis in made:
        leaves = {leaf for changes in axis.patches for leaf in _leaves(changes)}
        for leaf in sorted(leaves):
            for length in range(1, len(leaf) + 1):
                other = owners.get(leaf[:length])
                if other is not None and other is not axis:
                    yield Problem(f"sweep.{axis.dim}", f"{'.'.join(leaf)} is varied by the axis {other.dim} too")
        owners |= dict.fromkeys(leaves, axis)


def _leaves(changes: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in changes.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key)
