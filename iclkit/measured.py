"""What there is to measure: the models of a training by step, or one from elsewhere, and all that metrics may know."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from attrs import asdict, evolve
from torch import Tensor
from torch.nn import Module

from iclkit.config import Config
from iclkit.data import Family, TrainingSequences, prior_sequences
from iclkit.errors import NotApplicable
from iclkit.heads import ModulePredictor
from iclkit.keys import Key
from iclkit.modules import build_module
from iclkit.plan import Training
from iclkit.protocols import LogProbs, MeasuredCell, Models, PriorRun, ScoredBatch
from iclkit.references import References
from iclkit.snapshots import TrainingFolder
from iclkit.specs import Component
from iclkit.splits import Split, chunk_rows, fresh_family, holdout_splits, splits


class SnapshotModels:
    """The models of a training's snapshots, each rebuilt from its file; implements `iclkit.protocols.Models`."""

    def __init__(self, config: Config, folder: TrainingFolder):
        self._config, self._folder = config, folder
        self.steps = tuple(folder.steps())
        self._module: Module | None = None
        self._held: int | None = None

    def __getitem__(self, step: int) -> ModulePredictor:
        if self._module is None:
            self._module = build_module(self._config)
        if step != self._held:
            self._module.load_state_dict(self._folder.weights(step))
            self._held = step
        return ModulePredictor(self._module, self._config.source.facts, self._config.data.bos)

    def with_weights(self, weights: Mapping[str, Tensor]) -> ModulePredictor:
        """Return a model with these weights; see `iclkit.protocols.Models`."""
        module = build_module(self._config)
        module.load_state_dict(weights, strict=False)
        return ModulePredictor(module, self._config.source.facts, self._config.data.bos)


class GivenModel:
    """One model from elsewhere, as step 0; implements `iclkit.protocols.Models`."""

    steps: tuple[int, ...] = (0,)

    def __init__(self, model: Any, config: Config):
        module = isinstance(model, Module)
        self._model = ModulePredictor(model, config.source.facts, config.data.bos) if module else model

    def __getitem__(self, step: int) -> Any:
        return self._model

    def with_weights(self, weights: Mapping[str, Tensor]) -> Any:
        """Return a copy with these weights; see `iclkit.protocols.Models`."""
        if not isinstance(self._model, ModulePredictor):
            raise NotApplicable("what is measured is no torch module, so it cannot be given other weights")
        module = deepcopy(self._model.module)
        module.load_state_dict(weights, strict=False)
        return ModulePredictor(module, self._model.facts, self._model.bos)


class Ground:
    """A cell's source, references, splits and models: what is common to all its metrics.

    Parameters
    ----------
    config : of the cell.
    models : what is measured.
    training : the training they come from, and the folder of all trainings; None for models from elsewhere.

    """

    def __init__(self, config: Config, models: Models, training: tuple[Training, Path] | None):
        self.config, self.models = config, models
        self.source = config.source.build()
        self.sequences = TrainingSequences(config, self.source)
        self.references = References(config, self.source, self.sequences)
        self.splits = splits(config, self.source, self.sequences, trained=training is not None)
        self._training = training
        self._log_probs: dict[tuple[str, int | str], LogProbs] = {}

    @cached_property
    def folder(self) -> TrainingFolder | None:
        """The folder of the training; None for models from elsewhere."""
        return None if self._training is None else TrainingFolder(self._training[1] / self._training[0].id)

    def optimum(self, split: Split) -> str | None:
        """The name of a split's optimum, None where it does not exist."""
        return split.optimum if split.optimum in self.references.predictors else None

    def batch(self, split: Split, rows: slice) -> ScoredBatch:
        """Sample some of a split's sequences, with references that compute everything once."""
        return ScoredBatch(
            **asdict(split.chunk(rows), recurse=False),
            split=split.name,
            references=self.references.memos(),
            optimum=self.optimum(split),
            lawful=split.lawful,
        )

    def cell(self, metric: Component) -> MeasuredCell:
        """Return what a metric may know before the pass; held-out data are out of its reach."""
        config, folder = self.config, self.folder
        names = {split.name: split for split in self.splits}
        return MeasuredCell(
            data=xr.Dataset(),
            source=self.source,
            facts=config.source.facts,
            splits=tuple(names),
            references={name: tuple(self.references.predictors) for name in names},
            optimum={name: self.optimum(split) for name, split in names.items()},
            laws={name: self.references.laws(name) for name in names},
            length=config.evaluation_length,
            steps=self.models.steps,
            models=self.models,
            key=Key.root(config.seeds.evaluation).fold("metric").fold(metric.name),
            known=self.sequences.family if config.data.topics != "fresh" else None,
            fresh=self._fresh,
            batches=lambda split: self._batches(names, split),
            log_probs=lambda split, who: self._table(names, split, who),
            history=self._history,
            training=None if folder is None else self.sequences,
            trainer=None if folder is None else config.trainer.config,
            prior=self._prior,
            declared=False,
        )

    def after(self, cell: MeasuredCell, metric: Component, settings: str, data: xr.Dataset) -> MeasuredCell:
        """Return what a metric may know after the pass: what was reduced and, if it needs them, held-out data."""
        if self.folder is None or not metric.held_out:
            return evolve(cell, data=data)
        declared = settings in self.folder.serve_holdout()
        held = [split for split in self._holdouts if split.name in metric.held_out]
        names = {split.name: split for split in (*self.splits, *held)}
        return evolve(
            cell,
            data=data,
            declared=declared,
            batches=lambda split: self._batches(names, split),
            log_probs=lambda split, who: self._table(names, split, who),
        )

    @cached_property
    def _holdouts(self) -> list[Split]:
        return holdout_splits(self.config, self.source, self.sequences)

    def _fresh(self, count: int) -> Family:
        return fresh_family(self.config, self.source, count)

    def _batches(self, names: Mapping[str, Split], name: str) -> Iterator[ScoredBatch]:
        split = _named(names, name)
        for rows in chunk_rows(len(split), self.config.evaluation_length):
            yield self.batch(split, rows)

    def _table(self, names: Mapping[str, Split], name: str, who: int | str) -> LogProbs:
        """Compute, once for all metrics, what a step's model, or a reference, gives a split."""
        split = _named(names, name)
        if (name, who) not in self._log_probs:
            if isinstance(who, str) and who not in self.references.predictors:
                raise NotApplicable(f"there is no exact reference {who} in this cell")
            model: Any = self.references.predictors[who] if isinstance(who, str) else self.models[who]
            values, topics, numbers = [], [], []
            for rows in chunk_rows(len(split), self.config.evaluation_length):
                batch = split.chunk(rows)
                values.append(torch.where(batch.mask, model.log_prob(batch).double(), torch.nan))
                topics.append(batch.topics.numbers[batch.topic])
                numbers.append(self._alias(batch))
            made = LogProbs(values=torch.cat(values), topic=torch.cat(topics), number=torch.cat(numbers))
            self._log_probs[name, who] = made
        return self._log_probs[name, who]

    def _alias(self, batch: Any) -> Tensor:
        alias = getattr(self.source, "alias", None)
        return batch.number if alias is None else alias(batch.topics, batch.topic, batch.number)

    @cached_property
    def _history(self) -> Mapping[str, np.ndarray]:
        return {} if self.folder is None else self.folder.history()

    @cached_property
    def _prior(self) -> PriorRun | None:
        data = prior_sequences(self.config, self.source)
        if data is None or self._training is None or self._training[0].prior is None:
            return None
        place = TrainingFolder(self._training[1] / self._training[0].prior.id)
        return PriorRun(weights=place.weights(place.steps()[-1]), data=data)


def _named(names: Mapping[str, Split], name: str) -> Split:
    if name not in names:
        raise NotApplicable(f"there is no split {name} in this cell; there are {', '.join(names)}")
    return names[name]
