"""What a config asks for: cells, the trainings and passes they share, cohorts. Nothing heavy is imported here.

A training is named by everything that shapes its weights; a pass by its training and the evaluation data. Cells
that differ in neither share both.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, evolve, field, frozen

from iclkit import sweep
from iclkit.config import Config, digest, identity, override, parse_toml, read, with_kinds
from iclkit.errors import ConfigError, Problem, StoreError
from iclkit.plugins import Plugins
from iclkit.registry import Registry
from iclkit.specs import Component
from iclkit.sweep import Axis

COHORT_LIMIT = 32
"""Members of a cohort at most: more fall out of cache and gain nothing."""

COHORT_LEAST = 8
"""Members below which a cohort is not cut to give every worker one: fewer gain less from running together."""

BUILTIN_DIMS = frozenset({"step", "split", "position", "reference", "shots"})
_SWEEP_WIDE = frozenset(
    {
        "status",
        "wall_time",
        "peak_memory",
        "tokens_per_second",
        "prior_cost",
        "tokens_seen",
        "last_step",
        "parameters",
        "train_flops",
    }
)


@frozen(kw_only=True, eq=False)
class Training:
    """Weights to be made: what shapes them, and the tables they were read from.

    Parameters
    ----------
    id : 12 hexadecimal digits, the digest of `identity`.
    identity : JSON value of all that shapes the weights.
    config : the config of the first cell that asks for it.
    raw : the TOML tables of that config, for workers, which read them again.
    prior : the training whose weights this one starts from, or None.

    """

    id: str
    identity: Mapping[str, Any]
    config: Config
    raw: Mapping[str, Any]
    prior: "Training | None" = None

    @property
    def stacked(self) -> bool:
        """Whether its trainer was asked to run trainings of one shape as one tensor program."""
        return getattr(self.config.trainer.config, "stack", False) is True


@frozen(kw_only=True, eq=False)
class Pass:
    """One pass over evaluation data with all snapshots of a training; `metrics` maps names to their digests."""

    id: str
    training: Training
    config: Config
    raw: Mapping[str, Any]
    metrics: Mapping[str, str]

    def settings(self, names: Iterable[str]) -> dict[str, str]:
        """Return what names the settings of these metrics on this pass, for the record of who reads held-out data."""
        return {name: f"{self.id}-{self.metrics[name]}" for name in names}


@frozen(kw_only=True, eq=False)
class Cell:
    """One place of the cube: its index along the axes, its config, its pass."""

    index: tuple[int, ...]
    config: Config
    measured: Pass


@frozen(kw_only=True, eq=False)
class Plan:
    """Everything a config asks for, in the order it is done."""

    title: str
    path: Path
    text: str
    raw: Mapping[str, Any]
    base: Path
    folder: Path
    assignments: tuple[str, ...]
    axes: tuple[Axis, ...]
    cells: tuple[Cell, ...]
    trainings: tuple[Training, ...]
    passes: tuple[Pass, ...]
    cohorts: tuple[tuple[Training, ...], ...]
    execution: Component = field(repr=False)
    workers: int
    keep: Any

    @property
    def dims(self) -> dict[str, int]:
        """The sweep's dimensions and their sizes, in order."""
        return {axis.dim: len(axis) for axis in self.axes}

    def training(self, name: str) -> Training:
        """Return a training by its id or the beginning of it; raises StoreError if there is not exactly one."""
        found = [training for training in self.trainings if training.id.startswith(name)]
        if len(found) != 1:
            what = "no training" if not found else f"{len(found)} trainings"
            raise StoreError(f"{what} of {self.path} begins with {name}; `iclkit plan {self.path}` lists them")
        return found[0]

    def passes_of(self, training: Training) -> tuple[Pass, ...]:
        """The passes that measure a training."""
        return tuple(wanted for wanted in self.passes if wanted.training.id == training.id)


def load(
    path: Path | None,
    raw: Mapping[str, Any] | None,
    plugins: Plugins,
    *,
    assignments: Sequence[str] = (),
    out: Path | None = None,
    text: str | None = None,
) -> Plan:
    """Plan a config file, or tables given as `raw`. Raises ConfigError with every problem.

    `text` stands for what the file said, where a run folder remembers it.
    """
    if text is not None:
        raw = parse_toml(text, str(path))
    elif raw is None:
        assert path is not None
        if not path.is_file():
            raise ConfigError([Problem(str(path), "there is no such file")])
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError([Problem(str(path), f"not valid TOML: {error}")]) from None
        raw = parse_toml(text, str(path))
    else:
        text = ""
    base = path.parent.resolve() if path else Path.cwd()
    raw = override(raw, tuple(assignments))
    plan = _plan(raw, path or Path("config"), text, base, plugins.registry, out)
    return evolve(plan, assignments=tuple(assignments))


def _plan(raw: Mapping[str, Any], path: Path, text: str, base: Path, registry: Registry, out: Path | None) -> Plan:
    tables = with_kinds({key: value for key, value in raw.items() if key != "sweep"}, registry)
    axes, problems = _axes(raw.get("sweep", {}), registry)
    problems += _axis_problems(tables, axes, registry, base)
    if problems:
        raise ConfigError(problems)
    trainings: dict[str, Training] = {}
    passes: dict[str, Pass] = {}
    cells = []
    for index, cell_raw in sweep.combinations(tables, axes):
        try:
            config = read(cell_raw, registry, base)
        except ConfigError as error:
            raise ConfigError(_located(error.problems, axes, index)) from None
        training = _training(config, cell_raw, trainings)
        measured = _pass(config, cell_raw, training)
        cells.append(Cell(index=index, config=config, measured=passes.setdefault(measured.id, measured)))
    first = cells[0].config
    if "seed" not in {axis.dim for axis in axes}:
        axes = (*axes, Axis(dim="seed", labels=(first.seed,), patches=({},)))
        cells = [Cell(index=(*cell.index, 0), config=cell.config, measured=cell.measured) for cell in cells]
    return Plan(
        title=first.title,
        path=path,
        text=text,
        raw=raw,
        base=base,
        folder=out or first.store.path or Path("runs") / path.stem,
        assignments=(),
        axes=axes,
        cells=tuple(cells),
        trainings=tuple(trainings.values()),
        passes=tuple(passes.values()),
        cohorts=_cohorts(trainings.values(), first.workers),
        execution=first.execution,
        workers=first.workers,
        keep=first.store.keep,
    )


def _axes(table: Any, registry: Registry) -> tuple[tuple[Axis, ...], list[Problem]]:
    reserved = set(BUILTIN_DIMS | _SWEEP_WIDE)
    for entry in registry.all("metric"):
        for variable in entry.spec.variables:
            reserved |= {variable.name, f"{variable.name}_se", *variable.dims}
        reserved.add(f"{entry.spec.name}_not_applicable".replace("-", "_"))
    try:
        return sweep.axes(table, reserved), []
    except ConfigError as error:
        return (), list(error.problems)


def _axis_problems(tables: Mapping[str, Any], axes: tuple[Axis, ...], registry: Registry, base: Path) -> list[Problem]:
    """Try the first cell, then every other axis value alone, so that each wrong value is told once."""
    tries = [(0,) * len(axes)]
    for which, axis in enumerate(axes):
        tries += [tuple(place if i == which else 0 for i in range(len(axes))) for place in range(1, len(axis))]
    seen: dict[Problem, None] = {}
    found: list[Problem] = []
    for index in tries:
        cell = sweep.patched(tables, axes, index)
        try:
            read(cell, registry, base)
        except ConfigError as error:
            fresh = [problem for problem in error.problems if problem not in seen]
            seen |= dict.fromkeys(fresh)
            found += _located(fresh, axes, index)
    return found


def _located(problems: Iterable[Problem], axes: Sequence[Axis], index: tuple[int, ...]) -> list[Problem]:
    """Say where in the sweep a problem stands, if it is about a swept key."""
    located = []
    for problem in problems:
        touching = [
            f"{axis.dim} = {axis.labels[place]}"
            for axis, place in zip(axes, index, strict=True)
            if _touches(axis.patches[place], problem.path)
        ]
        where = f" (in the sweep, {', '.join(touching)})" if touching else ""
        located.append(Problem(problem.path, problem.message + where))
    return located


def _touches(changes: Mapping[str, Any], path: str) -> bool:
    """Whether a patch reaches the key a problem is about."""
    value: Any = changes
    for key in path.replace("[", ".[").split("."):
        if not isinstance(value, Mapping):
            return True
        if key not in value:
            return False
        value = value[key]
    return True


def _training(config: Config, raw: Mapping[str, Any], known: dict[str, Training]) -> Training:
    """Return the training of a cell, its prior's before it; equal ones are one."""
    prior = None if config.prior is None else _training(config.prior, _prior_raw(raw), known)
    parts: dict[str, Any] = {
        "source": identity(config.source),
        "data": {key: value for key, value in identity(config.data).items() if key != "holdout"},
        "model": identity(config.model),
        "trainer": identity(config.trainer),
        "seeds": {name: seed for name, seed in asdict(config.seeds).items() if name != "evaluation"},
    }
    if config.context != config.data.length:
        parts["context"] = config.context
    if prior is not None:
        parts |= {"prior": prior.id, "grow": config.grow}
    made = Training(id=digest(parts), identity=parts, config=config, raw=raw, prior=prior)
    return known.setdefault(made.id, made)


def training_of(raw: Mapping[str, Any], registry: Registry, base: Path) -> Training:
    """Return the training that a cell's tables ask for, in a worker that was sent them."""
    return _training(read(raw, registry, base), raw, {})


def pass_of(raw: Mapping[str, Any], registry: Registry, base: Path) -> Pass:
    """Return the pass that a cell's tables ask for, in a worker that was sent them."""
    training = training_of(raw, registry, base)
    return _pass(training.config, raw, training)


def _prior_raw(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tables of a prior; it is not measured, and what the cell's metrics need is no need of its own."""
    own = {key: value for key, value in raw.items() if key not in ("prior", "metrics")}
    return sweep.merge(own, {key: value for key, value in raw["prior"].items() if key != "grow"})


def _pass(config: Config, raw: Mapping[str, Any], training: Training) -> Pass:
    evaluation = identity(config.evaluation) | {
        "length": config.evaluation_length,
        "seed": config.seeds.evaluation,
        "holdout": identity(config.data.holdout),
    }
    metrics = {metric.name: digest({"name": metric.name} | identity(metric)) for metric in config.metrics}
    name = digest({"training": training.id, "evaluation": evaluation})
    return Pass(id=name, training=training, config=config, raw=raw, metrics=metrics)


def _cohorts(trainings: Iterable[Training], workers: int) -> tuple[tuple[Training, ...], ...]:
    """Group trainings that may run as one tensor program: equal but for stackable fields, and asked to stack."""
    groups: dict[str, list[Training]] = {}
    for training in trainings:
        groups.setdefault(digest(_shape(training)) if training.stacked else training.id, []).append(training)
    return tuple(cohort for members in groups.values() for cohort in _cut(members, workers))


def _cut(members: list[Training], workers: int) -> Iterator[tuple[Training, ...]]:
    """Cut trainings of one shape into cohorts of about equal size, one for each worker where they are many enough."""
    limit = min(COHORT_LIMIT, max(COHORT_LEAST, -(-len(members) // max(workers, 1))))
    count = -(-len(members) // limit)
    for part in range(count):
        yield tuple(members[part * len(members) // count : (part + 1) * len(members) // count])


def _shape(training: Training) -> Any:
    """Return the identity of a training without what members of a cohort may differ in; priors have a shape too."""
    config = training.config
    shape = {key: value for key, value in training.identity.items() if key not in ("seeds", "source")}
    shape["data"] = {key: value for key, value in shape["data"].items() if key not in ("topics", "sequences")}
    for name in ("model", "trainer"):
        component: Component = getattr(config, name)
        stackable = {field.name for field in component.spec.config.__attrs_attrs__ if field.metadata.get("stackable")}
        shape[name] = {key: value for key, value in shape[name].items() if key not in stackable}
    if training.prior is not None:
        shape["prior"] = _shape(training.prior)
    return shape | {"space": str(config.source.facts.space), "noise": config.source.facts.noise}
