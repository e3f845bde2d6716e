"""The one pass: per split, per chunk, references once, then every snapshot's model, then every metric.

Values per sequence are reduced in float64 as they come, so memory is bounded by a chunk whatever the number of
sequences, topics or snapshots. The model is always rebuilt from a snapshot file. A metric that fails is left out,
with its traceback, and the others go on.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from attrs import define, evolve, field
from torch import Tensor

from iclkit import parts, provenance
from iclkit.averages import Averages, describe
from iclkit.errors import NotApplicable
from iclkit.measured import Ground, SnapshotModels
from iclkit.plan import Pass
from iclkit.predictors import Memo
from iclkit.protocols import MeasuredCell, ScoredBatch
from iclkit.snapshots import TrainingFolder
from iclkit.specs import Component
from iclkit.splits import Split, chunk_rows
from iclkit.world import World

Values = dict[tuple[str, str], np.ndarray]  # (metric, variable) -> one value per sequence


@define(kw_only=True, eq=False)
class _Metric:
    """A metric being measured; `reason` says why it does not apply, `failure` is the traceback that put it out."""

    component: Component
    made: Any
    cell: MeasuredCell
    averages: Averages
    reason: str = ""
    failure: str = ""

    @property
    def out(self) -> bool:
        return bool(self.reason or self.failure)

    @property
    def dims(self) -> Mapping[str, tuple[str, ...]]:
        return {variable.name: variable.dims for variable in self.component.spec.variables}

    def call(self, method: str, *args: Any) -> Any:
        """Call one of its methods; None where it has none, and as `attempt` does."""
        called = getattr(self.made, method, None)
        return None if called is None else self.attempt(called, *args)

    def attempt(self, function: Callable[..., Any], *args: Any) -> Any:
        """Do something of this metric's; None where it does not apply, or it fails: the others go on."""
        if self.out:
            return None
        try:
            return function(*args)
        except NotApplicable as reason:
            self.reason = str(reason)
        except Exception:
            self.failure = traceback.format_exc()
        return None


@define(kw_only=True, eq=False)
class Measured:
    """What a pass gave: the Dataset, and the tracebacks of the metrics that failed, by name."""

    data: xr.Dataset
    failures: dict[str, str] = field(factory=dict)


def write_part(wanted: Pass, names: Sequence[str], folder: Path, world: World) -> Mapping[str, str]:
    """Measure metrics, by name, and write the part that holds them; return the tracebacks of those that failed."""
    config, place = wanted.config, TrainingFolder(folder / "trainings" / wanted.training.id)
    models = SnapshotModels(config, place)
    ground = Ground(config, models, (wanted.training, folder / "trainings"))
    measured = measure(ground, wanted.settings(names), world)
    if measured is None:
        return {}
    tokens = [place.tokens_seen(step) for step in models.steps]
    data = measured.data.assign_coords(tokens_seen=("step", tokens))
    held = {name: wanted.metrics[name] for name in names if name not in measured.failures}
    if held:
        about = {"training": wanted.training.id, "versions": provenance.versions()}
        parts.write(folder / "parts", wanted.id, held, data, about)
    return measured.failures


def measure(ground: Ground, settings: Mapping[str, str], world: World) -> Measured | None:
    """Measure metrics on all models; None on ranks that do not lead. `settings` names theirs, see `Pass.settings`."""
    wanted = [component for component in ground.config.metrics if component.name in settings]
    metrics = {component.name: _begin(ground, component) for component in wanted}
    scoring = any(hasattr(metric.made, name) for metric in metrics.values() for name in ("score", "score_references"))
    for split in ground.splits if scoring else ():
        for scored, groups, step in _scored(split, ground, world):
            values = {} if scored is None else _score(metrics.values(), scored, step)
            for piece, piece_groups in world.gather((values, groups)):  # in the order of the chunks
                for (name, variable), value in piece.items():
                    metrics[name].attempt(metrics[name].averages.add, variable, split, step, value, piece_groups)
    for others in world.gather({name: (metric.reason, metric.failure) for name, metric in metrics.items()}):
        for name, (reason, failure) in others.items():
            metrics[name].reason = metrics[name].reason or reason
            metrics[name].failure = metrics[name].failure or failure
    if not world.leads:
        return None
    data = xr.Dataset()
    for metric in metrics.values():
        averaged = metric.attempt(_averages, metric, data)
        data = data if averaged is None else averaged
    data = data.assign_coords(step=list(ground.models.steps))
    for metric in metrics.values():
        data = _finish(metric, data, ground, settings[metric.component.name])
    return Measured(data=data, failures={name: metric.failure for name, metric in metrics.items() if metric.failure})


def _begin(ground: Ground, component: Component) -> _Metric:
    steps, references = list(ground.models.steps), list(ground.references.predictors)
    metric = _Metric(
        component=component,
        made=None,
        cell=ground.cell(component),
        averages=Averages(component, [split.name for split in ground.splits], steps, references),
    )
    metric.made = metric.attempt(component.build)
    metric.call("begin", metric.cell)
    return metric


def _scored(split: Split, ground: Ground, world: World) -> Iterator[tuple[ScoredBatch | None, np.ndarray, int | None]]:
    """Iterate over (batch, groups, step): each round of chunks without a model first, then with every snapshot's.

    In a round each rank has one chunk; a rank that has none left takes part with None.
    """
    steps, chunks = ground.models.steps, chunk_rows(len(split), ground.config.evaluation_length)
    for start in range(0, len(chunks), world.size):
        own = start + world.rank
        rows = chunks[own] if own < len(chunks) else None
        if rows is None:
            for step in (None, *steps):
                yield None, np.zeros(0, dtype=np.int64), step
            continue
        groups = split.groups[rows].numpy()
        scored = ground.batch(split, rows)
        yield scored, groups, None
        for step in steps:
            yield evolve(scored, model=Memo(ground.models[step])), groups, step


def _score(metrics: Iterable[_Metric], scored: ScoredBatch, step: int | None) -> Values:
    """Return what the metrics make of one batch, float64 (b, ...); masked positions are NaN."""
    made: Values = {}
    for metric in metrics:
        values = metric.call("score_references" if step is None else "score", scored)
        made |= metric.attempt(_numbers, metric, values or {}, scored) or {}
    return made


def _numbers(metric: _Metric, values: Mapping[str, Tensor], scored: ScoredBatch) -> Values:
    made: Values = {}
    for name, value in values.items():
        if metric.dims[name][-1] == "position":
            mask = scored.mask.view(len(scored), *[1] * (value.ndim - 2), scored.length)
            value = torch.where(mask, value, torch.nan)
        made[metric.component.name, name] = value.detach().cpu().double().numpy()
    return made


def _averages(metric: _Metric, data: xr.Dataset) -> xr.Dataset:
    """Add a metric's averages to those of others."""
    return parts.joined([data, metric.averages.dataset(metric.made)])


def _finish(metric: _Metric, data: xr.Dataset, ground: Ground, settings: str) -> xr.Dataset:
    """Add what a metric makes of the reduced values, or the reason why it does not apply."""
    component = metric.component
    finished = metric.attempt(_finished, metric, data, ground, settings) if hasattr(metric.made, "finish") else None
    if metric.reason:
        data = data.drop_vars([name for name in _averaged(component) if name in data])
        return data.assign({component.reason_variable: ((), metric.reason)})
    return data if finished is None else finished


def _finished(metric: _Metric, data: xr.Dataset, ground: Ground, settings: str) -> xr.Dataset | None:
    component = metric.component
    extra = metric.made.finish(ground.after(metric.cell, component, settings, _own(metric, data)))
    if extra is None:
        return None
    variables = {variable.name: variable for variable in component.spec.variables}
    for name in extra.data_vars:
        extra[name].attrs |= describe(component, variables.get(str(name)))
    extra = extra.rename({name: component.variable(str(name)) for name in extra.data_vars})
    merged = parts.joined([data, extra])
    return merged.assign({name: array.fillna("") for name, array in merged.items() if array.dtype.kind == "O"})


def _averaged(component: Component) -> Iterator[str]:
    """Iterate over the names that a metric's averages have."""
    for variable in component.spec.variables:
        yield component.variable(variable.name)
        yield f"{component.variable(variable.name)}_se"


def _own(metric: _Metric, data: xr.Dataset) -> xr.Dataset:
    """Return the data with a renamed metric's own variables as its spec calls them, in place of another metric's.

    A metric's dims have its own labels in their order, whatever labels other metrics have along dims of these names.
    """
    component = metric.component
    labels = getattr(metric.made, "coords", {})
    data = data.reindex({dim: list(labels[dim]) for dim in labels if dim in data})
    if component.name == component.kind:
        return data
    declared = [f"{variable.name}{end}" for variable in component.spec.variables for end in ("", "_se")]
    own = {component.variable(name): name for name in declared if component.variable(name) in data}
    return data.drop_vars([name for name in declared if name in data]).rename(own)
