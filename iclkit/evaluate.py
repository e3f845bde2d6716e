"""The one pass: per split, per chunk, references once, then every snapshot's model, then every metric.

Values per sequence are reduced in float64 as they come, so memory is bounded by a chunk whatever the number of
sequences, topics or snapshots. The model is always rebuilt from a snapshot file. A metric that fails is left out,
with its traceback, and the others go on.
"""

import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from attrs import asdict, define, evolve, field

from iclkit import parts, provenance
from iclkit.averages import Averages, describe
from iclkit.data import Split, TrainingSequences, chunk_rows, splits
from iclkit.errors import NotApplicable
from iclkit.heads import ModulePredictor
from iclkit.modules import build_module
from iclkit.plan import Pass
from iclkit.predictors import Memo
from iclkit.protocols import MeasuredCell, ScoredBatch
from iclkit.references import References
from iclkit.snapshots import TrainingFolder
from iclkit.specs import Component
from iclkit.world import World

Values = dict[tuple[str, str], np.ndarray]  # (metric, variable) -> one value per sequence


@define(kw_only=True, eq=False)
class _Metric:
    """A metric being measured; `failure` is the traceback that put it out."""

    component: Component
    made: Any
    averages: Averages
    failure: str = ""

    @property
    def dims(self) -> Mapping[str, tuple[str, ...]]:
        return {variable.name: variable.dims for variable in self.component.spec.variables}


@define(kw_only=True, eq=False)
class Measured:
    """What a pass gave: the Dataset, and the tracebacks of the metrics that failed, by name."""

    data: xr.Dataset
    failures: dict[str, str] = field(factory=dict)


def write_part(wanted: Pass, names: Sequence[str], folder: Path, world: World) -> Mapping[str, str]:
    """Measure metrics, by name, and write the part that holds them; return the tracebacks of those that failed."""
    measured = measure(wanted, names, folder / "trainings", world)
    if measured is None:
        return {}
    held = {name: wanted.metrics[name] for name in names if name not in measured.failures}
    if held:
        about = {"training": wanted.training.id, "versions": provenance.versions()}
        parts.write(folder / "parts", wanted.id, held, measured.data, about)
    return measured.failures


def measure(wanted: Pass, names: Sequence[str], trainings: Path, world: World) -> Measured | None:
    """Measure metrics, by name, on all snapshots of a training; None on ranks that do not lead."""
    config, folder = wanted.config, TrainingFolder(trainings / wanted.training.id)
    source, steps = config.source.build(), folder.steps()
    training = TrainingSequences(config, source)
    references = References(config, source, training)
    found = splits(config, source, training)
    metrics = {
        component.name: _Metric(
            component=component,
            made=component.build(),
            averages=Averages(component, [split.name for split in found], steps, list(references.predictors)),
        )
        for component in config.metrics
        if component.name in names
    }
    for split in found:
        for scored, groups, step in _scored(split, references, wanted, folder, steps, world):
            values = {} if scored is None else _score(metrics.values(), scored, step)
            for piece, piece_groups in world.gather((values, groups)):  # in the order of the chunks
                for (name, variable), value in piece.items():
                    metrics[name].averages.add(variable, split, step, value, piece_groups)
    failures: dict[str, str] = {}
    for some in world.gather({name: metric.failure for name, metric in metrics.items() if metric.failure}):
        failures |= some
    if not world.leads:
        return None
    whole = [metric for name, metric in metrics.items() if name not in failures]
    data = xr.merge([metric.averages.dataset() for metric in whole], join="outer", compat="no_conflicts")
    data = data.assign_coords(step=steps, tokens_seen=("step", [folder.tokens_seen(step) for step in steps]))
    optimum = {split.name: _optimum(split, references) for split in found}
    cell = MeasuredCell(
        data=data,
        source=source,
        splits=tuple(optimum),
        references={name: tuple(references.predictors) for name in optimum},
        optimum=optimum,
        laws={name: references.laws(name) for name in optimum},
        length=config.evaluation_length,
        history=folder.history(),
    )
    for metric in whole:
        data = _finish(metric, data, cell)
    failures |= {metric.component.name: metric.failure for metric in whole if metric.failure}
    return Measured(data=data, failures=failures)


def _scored(
    split: Split, references: References, wanted: Pass, folder: TrainingFolder, steps: list[int], world: World
) -> Iterator[tuple[ScoredBatch | None, np.ndarray, int | None]]:
    """Iterate over (batch, groups, step): each round of chunks without a model first, then with every snapshot's.

    In a round each rank has one chunk; a rank that has none left takes part with None.
    """
    config, module = wanted.config, build_module(wanted.config)
    chunks = chunk_rows(len(split), config.evaluation_length)
    for start in range(0, len(chunks), world.size):
        own = start + world.rank
        rows = chunks[own] if own < len(chunks) else None
        if rows is None:
            for step in (None, *steps):
                yield None, np.zeros(0, dtype=np.int64), step
            continue
        groups = split.groups[rows].numpy()
        scored = ScoredBatch(
            **asdict(split.chunk(rows), recurse=False),
            split=split.name,
            references=references.memos(),
            optimum=_optimum(split, references),
            lawful=split.lawful,
        )
        yield scored, groups, None
        for step in steps:
            module.load_state_dict(folder.weights(step))
            model = Memo(ModulePredictor(module, config.source.facts, config.data.bos))
            yield evolve(scored, model=model), groups, step


def _optimum(split: Split, references: References) -> str | None:
    return split.optimum if split.optimum in references.predictors else None


def _score(metrics: Iterable[_Metric], scored: ScoredBatch, step: int | None) -> Values:
    """Return what the metrics make of one batch, float64 (b, ...); masked positions are NaN."""
    made: Values = {}
    for metric in metrics:
        method = getattr(metric.made, "score_references" if step is None else "score", None)
        if method is None or metric.failure:
            continue
        try:
            for name, value in method(scored).items():
                if metric.dims[name][-1] == "position":
                    mask = scored.mask.view(len(scored), *[1] * (value.ndim - 2), scored.length)
                    value = torch.where(mask, value, torch.nan)
                made[metric.component.name, name] = value.detach().cpu().double().numpy()
        except Exception:  # the other metrics go on
            metric.failure = traceback.format_exc()
    return made


def _finish(metric: _Metric, data: xr.Dataset, cell: MeasuredCell) -> xr.Dataset:
    """Add what a metric makes of the reduced values, or the reason why it does not apply."""
    finish = getattr(metric.made, "finish", None)
    if finish is None:
        return data
    try:
        extra = finish(cell)
    except NotApplicable as reason:
        return data.assign({metric.component.reason_variable: ((), str(reason))})
    except Exception:  # the other metrics go on
        metric.failure = traceback.format_exc()
        return data
    variables = {variable.name: variable for variable in metric.component.spec.variables}
    for name in extra.data_vars:
        extra[name].attrs |= describe(metric.component, variables.get(str(name)))
    return data.merge(extra.rename({name: metric.component.variable(str(name)) for name in extra.data_vars}))
