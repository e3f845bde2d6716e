"""One TOML table -> one frozen tree. All problems are found together, each with its path and what is allowed."""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs import evolve, frozen

from iclkit.errors import ConfigError, Problem, UsageError
from iclkit.limits import cross_problems, prior_problems, unmet_needs
from iclkit.registry import Registry
from iclkit.specs import Component, option
from iclkit.strict import Problems, Structurer, below

Count = int | Literal["fresh"]


@frozen(kw_only=True)
class Seeds:
    """Seeds of the independent streams; each defaults to `seed`."""

    topics: int = option("of the training topics")
    sequences: int = option("of the training sequences")
    model: int = option("of the model's initial weights and dropout")
    order: int = option("of the order in which sequences are trained on")
    evaluation: int = option("of fresh topics and sequences for evaluation")


@frozen(kw_only=True)
class Holdout:
    """Units after the K (N) that no trainer can reach; certificates alone read them."""

    topics: int = option("held-out topics", default=0, at_least=0)
    sequences: int = option("held-out sequences of each training topic", default=0, at_least=0)


@frozen(kw_only=True)
class Data:
    """How much of the source the model may see."""

    topics: Count = option('K, or "fresh": each sequence draws its topic', default="fresh", at_least=1)
    sequences: Count = option('N per topic, or "fresh": no sequence is seen twice', default="fresh", at_least=1)
    length: int = option("T, tokens in a sequence", default=64, at_least=1)
    bos: bool = option("whether a begin token comes first, so that position 1 is predicted too", default=True)
    holdout: Holdout = option("what is held out for certificates", default=Holdout())


@frozen(kw_only=True)
class Evaluation:
    """On how much of which data the snapshots are measured."""

    sequences: int = option("sequences per split", default=1024, at_least=1)
    topics: int | None = option(
        "fresh topics of the split `topics`; one per sequence if absent", default=None, at_least=1
    )
    length: int | None = option("T_p, tokens in a sequence; data.length if absent", default=None, at_least=1)


@frozen(kw_only=True)
class Store:
    """Where a run lives and what it keeps."""

    path: Path | None = option(
        "the run folder, relative to the config; runs/<config's name> here if absent", default=None
    )
    keep: Literal["all", "last"] | tuple[int, ...] = option("snapshots to keep once measured", default="all")


@frozen(kw_only=True)
class Config:
    """A cell: everything one training and its measurement need.

    `context` is the model's longest input; `prior` the config of the training that runs first, or None, and
    `grow` the operator that carries its weights over when shapes differ.
    """

    title: str
    seed: int
    seeds: Seeds
    source: Component
    data: Data
    model: Component
    context: int
    trainer: Component
    prior: "Config | None"
    grow: str | None
    evaluation: Evaluation
    metrics: tuple[Component, ...]
    execution: Component
    workers: int
    store: Store

    @property
    def evaluation_length(self) -> int:
        """T_p, tokens."""
        return self.evaluation.length or self.data.length


TABLES = (
    "title",
    "seed",
    "seeds",
    "source",
    "data",
    "model",
    "trainer",
    "prior",
    "evaluation",
    "metrics",
    "execution",
    "store",
)
_PRIOR_TABLES = ("source", "data", "model", "trainer", "seeds")


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """Parse TOML text; raises ConfigError with the line where it fails."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError, so is an endless integer
        raise ConfigError([Problem(name, f"not valid TOML: {error}")]) from None


def override(raw: Mapping[str, Any], assignments: tuple[str, ...]) -> dict[str, Any]:
    """Apply `--set path=value` assignments; keys and values are TOML, bare words strings."""
    result = dict(raw)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise UsageError(f"--set {assignment}: expected KEY=VALUE, for example --set model.layers=4")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text.strip()
        try:
            result = patch(result, _keys(path.strip()), value)
        except ValueError as error:
            raise UsageError(f"--set {assignment}: {error}") from None
    return result


def _keys(path: str) -> list[str]:
    """Return the keys of a dotted path; those in quotes may hold dots themselves."""
    if '"' not in path and "'" not in path:
        return path.split(".")
    keys, inner = [], tomllib.loads(f"{path} = 0")
    while isinstance(inner, dict):
        ((key, inner),) = inner.items()
        keys.append(key)
    return keys


def patch(raw: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """Return the table with what stands under nested keys replaced, missing tables made."""
    key, *rest = keys
    result = dict(raw)
    if rest:
        inner = result.get(key, {})
        if not isinstance(inner, Mapping):
            raise ValueError(f"{key} is not a table")
        value = patch(inner, rest, value)
    result[key] = value
    return result


def merge(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table with changes merged in; a table whose `kind` changes is replaced as a whole."""
    result = dict(raw)
    for key, value in changes.items():
        old = result.get(key)
        if (
            isinstance(value, Mapping)
            and isinstance(old, Mapping)
            and value.get("kind", old.get("kind")) == old.get("kind")
        ):
            value = merge(old, value)
        result[key] = value
    return result


def with_kinds(raw: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Write out the kinds that tables leave to the default, so that patches meet what they change."""
    result = dict(raw)
    for kind, table in (("source", "source"), ("model", "model"), ("trainer", "trainer"), ("executor", "execution")):
        default, given = registry.default(kind), result.get(table, {})
        if default is not None and isinstance(given, Mapping) and "kind" not in given:
            result[table] = {"kind": default.spec.name, **given}
    return result


def read(raw: Mapping[str, Any], registry: Registry, folder: Path) -> Config:
    """Return the config that a table (without its sweep) describes; raises ConfigError with every problem.

    `folder` is where relative paths start.
    """
    reader = _Reader(raw, Structurer(registry, folder))
    config = reader.config()
    problems = [*reader.problems, *cross_problems(config), *unmet_needs(config), *prior_problems(config)]
    if config.prior is not None:
        problems += below("prior", [problem for problem in cross_problems(config.prior) if problem not in problems])
    if problems:
        raise ConfigError(problems)
    return config


class _Reader:
    """Reads table after table, noting problems and going on."""

    def __init__(self, raw: Mapping[str, Any], structurer: Structurer):
        self.raw, self.structurer = raw, structurer
        self.problems: list[Problem] = []
        unknown = {key: value for key, value in raw.items() if key not in TABLES}
        if unknown:
            self._table("", unknown, attrs.make_class("Top", {name: attrs.field(default=None) for name in TABLES}))

    def config(self) -> Any:
        """Return the config; what has problems is None in it."""
        table = self.raw.get
        seed = self._table("seed", table("seed", 0), int)
        data = self._table("data", table("data", {}), Data)
        model_table = table("model", {})
        context = model_table.get("context") if isinstance(model_table, Mapping) else None
        if context is not None:
            context = self._table("model.context", context, int)
            model_table = {key: value for key, value in model_table.items() if key != "context"}
            if context is not None and context < 1:
                self.problems.append(Problem("model.context", f"{context} is out of range; allowed: at least 1"))
        execution = table("execution", {})
        workers = 0
        if isinstance(execution, Mapping):
            workers = self._table("execution.workers", execution.get("workers", 0), int)
            execution = {key: value for key, value in execution.items() if key != "workers"}
            if workers is not None and workers < 0:
                self.problems.append(Problem("execution.workers", f"{workers} is out of range; allowed: at least 0"))
        source = self._component("source", table("source", {}))
        config = Config(
            title=self._table("title", table("title", ""), str),
            seed=seed,
            seeds=self._seeds(seed),
            source=source,
            data=data,
            model=self._component("model", model_table),
            context=context or (data.length if data else 1),
            trainer=self._component("trainer", table("trainer", {})),
            prior=None,
            grow=None,
            evaluation=self._table("evaluation", table("evaluation", {}), Evaluation),
            metrics=self._metrics(table("metrics", None), source),
            execution=self._component("executor", execution, path="execution"),
            workers=workers,
            store=self._table("store", table("store", {}), Store),
        )
        return self._with_prior(config) if "prior" in self.raw else config

    def _table(self, path: str, value: Any, kind: Any) -> Any:
        try:
            return self.structurer.structure(value, kind)
        except Problems as found:
            self.problems += below(path, found.problems) if path else found.problems
            return None

    def _component(self, kind: str, table: Any, path: str | None = None) -> Any:
        try:
            return self.structurer.component(kind, table)
        except Problems as found:
            self.problems += below(path or kind, found.problems)
            return None

    def _seeds(self, seed: int | None) -> Any:
        table = self.raw.get("seeds", {})
        if isinstance(table, Mapping):
            table = {field.name: seed if seed is not None else 0 for field in attrs.fields(Seeds)} | dict(table)
        return self._table("seeds", table, Seeds)

    def _metrics(self, tables: Any, source: Component | None) -> tuple[Component, ...]:
        if tables is None:
            specs = [entry.spec for entry in self.structurer.registry.all("metric") if entry.spec.default]
            tables = [{"kind": spec.name} for spec in specs if source is None or spec.applies(source.facts)]
        if not isinstance(tables, list):
            self.problems.append(Problem("metrics", "expected tables: [[metrics]] with kind = ..."))
            return ()
        if not tables:
            self.problems.append(Problem("metrics", "at least one is needed, or no metrics table at all"))
        made: list[Component] = []
        for index, table in enumerate(tables):
            path = f"metrics[{index}]"
            name = table.get("name") if isinstance(table, Mapping) else None
            if name is not None:
                name = self._table(f"{path}.name", name, str)
                if name is not None and not re.fullmatch(r"[A-Za-z][\w-]*", name):
                    self.problems.append(Problem(f"{path}.name", "is made of letters, digits, - and _"))
                table = {key: value for key, value in table.items() if key != "name"}
            component = self._component("metric", table, path)
            if component is None:
                continue
            component = evolve(component, name=name or component.kind)
            if component.reason_variable in {other.reason_variable for other in made}:
                self.problems.append(
                    Problem(path, f'a second metric is called "{component.name}"; give it a name = "..."')
                )
            made.append(component)
        return tuple(made)

    def _with_prior(self, config: Any) -> Any:
        table = self.raw["prior"]
        if not isinstance(table, Mapping):
            self.problems.append(Problem("prior", "expected a table with source, data, model, trainer or seeds"))
            return config
        changes = dict(table)
        grow = changes.pop("grow", None)
        if grow is not None:
            grow = self._table("prior.grow", grow, str)
        for key in [key for key in changes if key not in _PRIOR_TABLES]:
            self.problems.append(Problem(f"prior.{key}", f"unknown key; allowed: {', '.join(_PRIOR_TABLES)}, grow"))
            del changes[key]
        own = {key: value for key, value in self.raw.items() if key != "prior"}
        reader = _Reader(merge(own, changes), self.structurer)
        prior = reader.config()
        self.problems += below("prior", [problem for problem in reader.problems if problem not in self.problems])
        return evolve(config, prior=prior, grow=grow)


def identity(value: Any) -> Any:
    """Return the JSON value that stands for a config value in hashes: only what differs from its default."""
    if isinstance(value, Component):
        facts = {"kind": value.kind, "revision": value.spec.revision, "file": value.origin}
        return {key: item for key, item in facts.items() if item is not None} | identity(value.config)
    if isinstance(value, Path):
        return {"sha256": _content_digest(value)}
    if attrs.has(type(value)):
        fields = [field for field in attrs.fields(type(value)) if getattr(value, field.name) != field.default]
        return {field.name: identity(getattr(value, field.name)) for field in fields}
    if isinstance(value, tuple):
        return [identity(item) for item in value]
    return value


def digest(value: Any) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _content_digest(path: Path) -> str:
    """Digest a file, or a folder's files by name and content; a missing path digests as empty."""
    total = hashlib.sha256()
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if file.is_file() and not file.name.startswith("."):
            total.update(str(file.relative_to(path)).encode())
            total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()
