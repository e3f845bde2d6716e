"""Strict structuring of TOML values into attrs classes, with every problem at once.

cattrs dispatches on types; the hooks here coerce nothing (an int is not a float's 3.9, a bool is not an int, a
string is nothing else) and gather problems with the path of their key instead of stopping at the first.
"""

import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs
import cattrs
from attrs import frozen

from iclkit.errors import PluginError, Problem
from iclkit.registry import Registry
from iclkit.specs import Component, Table

_WORDS = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a string",
    Path: "a path",
    dict: "a table",
}


class Problems(Exception):
    """Problems found below one key; their paths are relative to it."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def one(cls, message: str, path: str = "") -> "Problems":
        """A single problem."""
        return cls([Problem(path, message)])


def below(key: str, problems: Iterable[Problem]) -> list[Problem]:
    """Put a key in front of the problems' paths."""
    joined = []
    for problem in problems:
        dot = "" if not problem.path or problem.path.startswith("[") else "."
        joined.append(Problem(f"{key}{dot}{problem.path}", problem.message))
    return joined


@frozen
class Structurer:
    """Turns plain values into attrs classes, components looked up in a registry, paths relative to a folder."""

    registry: Registry
    folder: Path
    converter: cattrs.Converter = attrs.field(factory=lambda: cattrs.Converter(detailed_validation=False))

    def __attrs_post_init__(self) -> None:
        """Register the strict hooks; later ones are asked first."""
        converter = self.converter
        for kind in (int, float, bool, str):
            converter.register_structure_hook(kind, _scalar)
        converter.register_structure_hook(Path, self._path)
        converter.register_structure_hook_factory(lambda kind: kind == Table, lambda _: _table)
        converter.register_structure_hook_factory(attrs.has, self._attrs_hook)
        converter.register_structure_hook_factory(_is_tuple, self._tuple_hook)
        converter.register_structure_hook_factory(_is_literal, lambda _: _literal)
        converter.register_structure_hook_factory(_is_union, self._union_hook)
        converter.register_structure_hook_factory(_is_component, self._component_hook)

    def structure(self, value: Any, kind: Any) -> Any:
        """Return the value as an instance of a type; raises Problems."""
        return self.converter.structure(value, kind)

    def component(self, kind: str, table: Any) -> Component:
        """Return the component that a table describes: `kind` chooses it, the other keys are its config."""
        if not isinstance(table, Mapping):
            raise Problems.one(f"expected a table with kind = ..., got {_show(table)}")
        table = dict(table)
        name = table.pop("kind", None)
        if name is None:
            default = self.registry.default(kind)
            if default is None:
                known = ", ".join(self.registry.names(kind))
                raise Problems.one(f"missing; there are: {known}", "kind")
            name = default.spec.name
        if not isinstance(name, str):
            raise Problems.one(_mismatch(name, str), "kind")
        try:
            entry = self.registry.get(kind, name)
        except KeyError as unknown:
            if self.registry.quarantined and not difflib.get_close_matches(name, self.registry.names(kind)):
                raise PluginError(unknown.args[0]) from None
            raise Problems.one(unknown.args[0], "kind") from None
        config = self.structure(table, entry.spec.config)
        return Component(spec=entry.spec, config=config, name=name, origin=entry.provider.digest)

    def _path(self, value: Any, _: Any) -> Path:
        if not isinstance(value, str) or "\0" in value:
            raise Problems.one(_mismatch(value, Path))
        return (self.folder / value).resolve()

    def _attrs_hook(self, cls: type) -> Callable[[Any, Any], Any]:
        fields = {field.name: field for field in attrs.fields(attrs.resolve_types(cls))}

        def hook(value: Any, _: Any) -> Any:
            if not isinstance(value, Mapping):
                raise Problems.one(_mismatch(value, dict))
            problems = [Problem(key, _unknown(key, fields)) for key in value if key not in fields]
            known: dict[str, Any] = {}
            for name, field in fields.items():
                if name not in value:
                    if field.default is attrs.NOTHING:
                        problems.append(Problem(name, f"missing; {field.metadata.get('doc', 'it has no default')}"))
                    continue
                try:
                    known[name] = self.structure(value[name], field.type)
                except Problems as found:
                    problems += below(name, found.problems)
                else:
                    problems += [Problem(name, text) for text in _beyond(known[name], field)]
            if not problems:
                made = cls(**known)
                problems = [Problem(*found) for found in getattr(made, "problems", tuple)()]
            if problems:
                raise Problems(problems)
            return made

        return hook

    def _tuple_hook(self, kind: Any) -> Callable[[Any, Any], Any]:
        inner = get_args(kind)

        def hook(value: Any, _: Any) -> tuple:
            if not isinstance(value, list | tuple):
                raise Problems.one(f"expected a list, got {_show(value)}")
            wanted = [inner[0]] * len(value) if len(inner) == 2 and inner[1] is Ellipsis else list(inner)
            if len(value) != len(wanted):
                raise Problems.one(f"expected {len(wanted)} entries, got {len(value)}")
            made, problems = [], []
            for index, (item, item_kind) in enumerate(zip(value, wanted, strict=True)):
                try:
                    made.append(self.structure(item, item_kind))
                except Problems as found:
                    problems += below(f"[{index}]", found.problems)
            if problems:
                raise Problems(problems)
            return tuple(made)

        return hook

    def _union_hook(self, kind: Any) -> Callable[[Any, Any], Any]:
        members = [member for member in get_args(kind) if member is not types.NoneType]

        def hook(value: Any, _: Any) -> Any:
            failures: list[Problems] = []
            for member in members:
                try:
                    return self.structure(value, member)
                except Problems as found:
                    failures.append(found)
            inside = [found for found in failures if any(problem.path for problem in found.problems)]
            if inside or len(members) == 1:  # the right form with something wrong inside
                raise (inside or failures)[0]
            raise Problems.one(f"expected {' or '.join(map(_word, members))}, got {_show(value)}")

        return hook

    def _component_hook(self, kind: Any) -> Callable[[Any, Any], Any]:
        name = kind.__metadata__[0]
        return lambda value, _: self.component(name, value)


def _scalar(value: Any, kind: type) -> Any:
    if kind is float and type(value) is int and abs(value) < 1 << 1000:
        return float(value)
    if type(value) is not kind:
        raise Problems.one(_mismatch(value, kind))
    if isinstance(value, float) and not math.isfinite(value):
        raise Problems.one(f"{value} is not a setting")
    return value


def _table(value: Any, _: Any) -> Any:
    """Return a table as it is, once all in it is what JSON has too: no dates, no infinity."""
    if not isinstance(value, Mapping):
        raise Problems.one(_mismatch(value, dict))
    problems = []
    for key, item in value.items():
        try:
            _plain(item)
        except Problems as found:
            problems += below(str(key), found.problems)
    if problems:
        raise Problems(problems)
    return dict(value)


def _plain(value: Any) -> None:
    """Raise Problems where a value cannot stand in JSON."""
    if isinstance(value, Mapping):
        _table(value, Table)
    elif isinstance(value, list | tuple):
        for item in value:
            _plain(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise Problems.one(f"{value} is not a setting")
    elif value is not None and type(value) not in (bool, int, float, str):
        raise Problems.one(f"expected a number, a string, true or false, a list or a table, got {_show(value)}")


def _literal(value: Any, kind: Any) -> Any:
    for allowed in get_args(kind):
        if type(value) is type(allowed) and value == allowed:
            return value
    raise Problems.one(f"expected {_word(kind)}, got {_show(value)}{_near(value, get_args(kind))}")


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _is_component(kind: Any) -> bool:
    return get_origin(kind) is typing.Annotated and kind.__origin__ is Component


def _word(kind: Any) -> str:
    if _is_literal(kind):
        return " or ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in get_args(kind))
    if _is_tuple(kind):
        return "a list"
    return _WORDS.get(kind, "a table")


def _show(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return f"{text if len(text) < 60 else text[:57] + '...'} ({type(value).__name__})"


def _mismatch(value: Any, kind: type) -> str:
    return f"expected {_WORDS[kind]}, got {_show(value)}"


def _near(value: Any, allowed: Iterable[Any]) -> str:
    near = difflib.get_close_matches(str(value), [str(item) for item in allowed], n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""


def _unknown(key: str, allowed: Iterable[str]) -> str:
    allowed = list(allowed)
    return f"unknown key{_near(key, allowed) or '; allowed: ' + (', '.join(allowed) or 'none')}"


def _beyond(value: Any, field: attrs.Attribute) -> Iterable[str]:
    """Say where numbers leave the limits that `option` declared."""
    limits = field.metadata.get("limits", {})
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, tuple):
            yield from _beyond(number, field)
        elif type(number) in (int, float):
            yield from (f"{number} is out of range; allowed: {range_text(limits)}" for _ in [0] if _out(number, limits))


def _out(number: float, limits: Mapping[str, float]) -> bool:
    return (
        number < limits.get("at_least", number)
        or number > limits.get("at_most", number)
        or ("above" in limits and number <= limits["above"])
        or ("below" in limits and number >= limits["below"])
    )


def range_text(limits: Mapping[str, float]) -> str:
    """Say a range in words: "at least 1", "above 0 and below 1"."""
    return " and ".join(f"{name.replace('_', ' ')} {value}" for name, value in limits.items())
