"""The one pass: per split, per chunk, references once, then every snapshot's model, then every metric.

Values per sequence are reduced in float64 as they come, so memory is bounded by a chunk whatever the number of
sequences, topics or snapshots. The model is always rebuilt from a snapshot file.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from attrs import asdict, evolve, frozen
from torch.nn import Module

from iclkit import parts, provenance
from iclkit.config import Config
from iclkit.data import Split, TrainingSequences, chunk_rows, splits
from iclkit.errors import NotApplicable
from iclkit.heads import ModulePredictor
from iclkit.modules import build_module
from iclkit.plan import Pass
from iclkit.predictors import Memo
from iclkit.protocols import MeasuredCell, ScoredBatch
from iclkit.reduction import Reducer
from iclkit.references import References
from iclkit.snapshots import TrainingFolder
from iclkit.specs import Component, Variable
from iclkit.world import World

_logger = logging.getLogger(__name__)


@frozen(kw_only=True, eq=False)
class _Metric:
    """A metric being measured: the component, the object, and the reason if it does not apply."""

    component: Component
    made: Any

    @property
    def variables(self) -> dict[str, Variable]:
        return {variable.name: variable for variable in self.component.spec.variables}


def measure(wanted: Pass, metrics: Sequence[str], trainings: Path, world: World) -> xr.Dataset | None:
    """Measure metrics, by name, on all snapshots of a training; the Dataset on rank 0, None elsewhere."""
    config = wanted.config
    folder = TrainingFolder(trainings / wanted.training.id)
    steps = folder.steps()
    source = config.source.build()
    training = TrainingSequences(config, source)
    references = References(config, source, training)
    chosen = [_Metric(component=item, made=item.build()) for item in config.metrics if item.name in metrics]
    made_splits = splits(config, source, training)
    table = _Table(chosen, [split.name for split in made_splits], steps, list(references.predictors))
    module = build_module(config)
    for split in made_splits:
        for scored, groups, step in _scored(split, references, module, config, folder, steps, world):
            values = {} if scored is None else _score(chosen, scored, step)
            for piece, piece_groups in world.gather((values, groups)):  # in the order of the chunks
                for (index, name), value in piece.items():
                    table.add(chosen[index], name, split, step, value, piece_groups)
    if not world.leads:
        return None
    data = table.dataset()
    cell = MeasuredCell(
        data=data,
        source=source,
        splits=tuple(split.name for split in made_splits),
        references={split.name: tuple(references.predictors) for split in made_splits},
        optimum={
            split.name: split.optimum if split.optimum in references.predictors else None for split in made_splits
        },
        laws={split.name: references.laws(split.name) for split in made_splits},
        length=config.evaluation_length,
        history=folder.history(),
    )
    for metric in chosen:
        data = _finish(metric, data, cell)
    return data.assign_coords(tokens_seen=("step", [folder.tokens_seen(step) for step in steps]))


def write_part(wanted: Pass, metrics: Sequence[str], folder: Path, world: World) -> None:
    """Measure and write the part that holds these metrics."""
    data = measure(wanted, metrics, folder / "trainings", world)
    if data is not None:
        held = {name: digest for name, digest in wanted.metrics.items() if name in metrics}
        about = {"training": wanted.training.id, "versions": provenance.versions()}
        parts.write(folder / "parts", wanted.id, held, data, about)


def _scored(
    split: Split,
    references: References,
    module: Module,
    config: Config,
    folder: TrainingFolder,
    steps: list[int],
    world: World,
) -> Iterator[tuple[ScoredBatch | None, np.ndarray, int | None]]:
    """Iterate over (batch, groups, step): each round of chunks without a model first, then with every snapshot's.

    In a round each rank has one chunk; a rank that has none left takes part with None.
    """
    chunks = chunk_rows(len(split), config.evaluation_length)
    facts, bos = config.source.facts, config.data.bos
    for start in range(0, len(chunks), world.size):
        own = start + world.rank
        rows = chunks[own] if own < len(chunks) else None
        scored, groups = None, np.zeros(0, dtype=np.int64)
        if rows is not None:
            scored = ScoredBatch(
                **asdict(split.chunk(rows), recurse=False),
                split=split.name,
                references=references.memos(),
                optimum=split.optimum if split.optimum in references.predictors else None,
                lawful=split.lawful,
            )
            groups = split.groups[rows].numpy()
        yield scored, groups, None
        for step in steps:
            if scored is not None:
                module.load_state_dict(folder.weights(step))
                model = Memo(ModulePredictor(module, facts, bos))
            yield (None if scored is None else evolve(scored, model=model)), groups, step


def _score(metrics: Sequence[_Metric], scored: ScoredBatch, step: int | None) -> dict[tuple[int, str], np.ndarray]:
    """Return what the metrics make of one batch, float64 (b, ...); masked positions are NaN."""
    made = {}
    for index, metric in enumerate(metrics):
        method = getattr(metric.made, "score_references" if step is None else "score", None)
        for name, value in {} if method is None else method(scored).items():
            if metric.variables[name].dims[-1] == "position":
                mask = scored.mask.view(len(scored), *[1] * (value.ndim - 2), scored.length)
                value = torch.where(mask, value, torch.nan)
            made[index, name] = value.detach().cpu().double().numpy()
    return made


class _Table:
    """The reducers of a pass, by variable, split and step, and the Dataset they end as."""

    def __init__(self, metrics: list[_Metric], split_names: list[str], steps: list[int], references: list[str]):
        self._metrics = metrics
        self._reducers: dict[tuple[str, str, int | None], Reducer] = {}
        self._coords: dict[str, list[Any]] = {"step": steps, "split": split_names, "reference": references}

    def add(
        self,
        metric: _Metric,
        name: str,
        split: Split,
        step: int | None,
        values: np.ndarray,
        groups: np.ndarray,
    ) -> None:
        """Reduce the values of one chunk."""
        key = f"{metric.component.name}/{name}", split.name, step
        if key not in self._reducers:
            self._reducers[key] = Reducer(split.design)
        self._reducers[key].add(values, groups)

    def dataset(self) -> xr.Dataset:
        """Return what was reduced: every variable, its standard error, and the coordinates."""
        made: dict[str, Any] = {}
        for metric in self._metrics:
            for name, variable in metric.variables.items():
                mean, error = self._arrays(f"{metric.component.name}/{name}", variable)
                if mean is None:
                    continue
                full = metric.component.variable(name)
                about = {"units": variable.units, "long_name": variable.long_name} | _origin(metric.component)
                made[full] = variable.dims, mean, about | {"ancillary_variables": f"{full}_se"}
                made[f"{full}_se"] = (
                    variable.dims,
                    error,
                    about | {"long_name": f"standard error of {variable.long_name}"},
                )
        data = xr.Dataset(made)
        coords = {name: values for name, values in self._coords.items() if name in data.dims or name == "step"}
        if "position" in data.dims:
            coords["position"] = list(range(1, data.sizes["position"] + 1))
        return data.assign_coords(coords)

    def _arrays(self, name: str, variable: Variable) -> tuple[np.ndarray | None, np.ndarray | None]:
        results = {key[1:]: reducer.result() for key, reducer in self._reducers.items() if key[0] == name}
        if not results:
            return None, None
        steps = self._coords["step"] if "step" in variable.dims else [None]
        shape = next(iter(results.values()))[0].shape
        blank = np.full(shape, np.nan)
        pairs = [
            [results.get((split, step), (blank, blank, blank)) for split in self._coords["split"]] for step in steps
        ]
        mean = np.array([[pair[0] for pair in row] for row in pairs])
        error = np.array([[pair[1] for pair in row] for row in pairs])
        if "step" not in variable.dims:
            mean, error = mean[0], error[0]  # (split, ...)
        given = [dim for dim in ("step", "split") if dim in variable.dims]
        own = [dim for dim in variable.dims if dim not in given]
        order = [(given + own).index(dim) for dim in variable.dims]
        return mean.transpose(order), error.transpose(order)


def _finish(metric: _Metric, data: xr.Dataset, cell: MeasuredCell) -> xr.Dataset:
    finish = getattr(metric.made, "finish", None)
    if finish is None:
        return data
    try:
        extra = finish(cell)
    except NotApplicable as reason:
        _logger.info("%s: %s", metric.component.name, reason)
        return data.assign_attrs({f"{metric.component.name}_not_applicable": str(reason)})
    for name in extra.data_vars:
        about = metric.variables.get(str(name))
        declared = {"units": about.units, "long_name": about.long_name} if about else {}
        extra[name].attrs = declared | dict(extra[name].attrs) | _origin(metric.component)
    return data.merge(extra.rename({name: metric.component.variable(str(name)) for name in extra.data_vars}))


def _origin(metric: Component) -> dict[str, str]:
    """Return the attributes that say which metric made a variable."""
    return {"metric": metric.kind, "role": metric.spec.role, "revision": str(metric.spec.revision)}
