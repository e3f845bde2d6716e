"""Run one training: build, restore, fit, save snapshots. Only what shapes the weights enters here."""

import resource
import time
import traceback
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from attrs import evolve
from torch import Tensor
from torch.nn import Module

from iclkit import heads, provenance
from iclkit.data import TrainingSequences, select
from iclkit.errors import ConfigError, IclkitError, Problem, RunFailures, StoreError
from iclkit.keys import Key
from iclkit.modules import build_module
from iclkit.plan import Training
from iclkit.predictors import Mixture, Predictor, mixture_over
from iclkit.protocols import Batch
from iclkit.snapshots import TrainingFolder
from iclkit.specs import resolve
from iclkit.world import World

_FLOOR_SEQUENCES = 64  # the live view's floor is an estimate on so many training sequences
_REPORT_EVERY = 0.5  # seconds


class TrainingJob:
    """What a trainer gets; see `iclkit.protocols.Job`."""

    def __init__(self, training: Training, folder: TrainingFolder, start: Mapping[str, Tensor] | None, world: World):
        self.config = config = training.config
        self.source = config.source.build()
        self.facts = config.source.facts
        self.module = build_module(config)
        self.start = start
        self.data = TrainingSequences(config, self.source)
        self.key = Key.root(config.seeds.order).fold("trainer")
        self.length = config.data.length
        self._folder, self._world = folder, world
        self._floor: float | None = None
        self._began = time.perf_counter()
        self._before = (folder.progress or {}).get("wall_time", 0.0)
        self._reported = 0.0

    @cached_property
    def prior(self) -> TrainingSequences | None:
        """What the training that runs first is trained on, at this training's length; None without one."""
        config = self.config.prior
        if config is None:
            return None
        data = evolve(config.data, length=self.length, bos=self.config.data.bos)
        return TrainingSequences(evolve(config, data=data), self.source)

    @property
    def wall_time(self) -> float:
        """Seconds spent on this training, in earlier sessions too."""
        return self._before + time.perf_counter() - self._began

    def loss(self, module: Module, batch: Batch) -> Tensor:
        """Return the loss of each token, float32 (B, T), nats."""
        return heads.loss(module, self.facts, batch, self.config.data.bos)

    def seed(self, step: int) -> None:
        """Seed torch for what a module draws itself (dropout) at a step."""
        key = Key.root(self.config.seeds.model).fold("module").fold(step).fold(self._world.rank)
        torch.manual_seed(int(key.bits()) & (1 << 62) - 1)

    def restore(self) -> tuple[int, Mapping[str, Tensor]] | None:
        """Return the last saved (step, state)."""
        return self._folder.state()

    def save(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Save the state to resume from."""
        if self._world.leads:
            self._folder.save_state(step, state)

    def progress(self, step: int, steps: int, loss: float) -> None:
        """Report progress, at most twice a second."""
        now = time.perf_counter()
        if not self._world.leads or (now - self._reported < _REPORT_EVERY and step < steps):
            return
        self._reported = now
        if self._floor is None:
            self._floor = self._estimate_floor()
        report = {
            "step": step,
            "steps": steps,
            "loss": loss,
            "floor": self._floor,
            "wall_time": self.wall_time,
        }
        self._folder.report(report)

    def _estimate_floor(self) -> float:
        """Estimate the optimum's loss on some training sequences; NaN where no optimum is known."""
        optimum: Predictor | Mixture | None = None
        if self.data.family is not None:
            if "mixture" in self.facts.references:
                optimum = mixture_over(self.source, self.data.family.topics, self.data.family.weights)
        elif "population" in self.facts.references:
            population = getattr(self.source, "population", None)
            optimum = population() if population else None
        if optimum is None:
            return float("nan")
        batch = self.data.batch(0, _FLOOR_SEQUENCES)
        values = optimum.log_prob(select(batch, torch.arange(_FLOOR_SEQUENCES)))
        return -float(values[batch.mask & values.isfinite()].mean())


def run(training: Training, folder: Path, notify: Callable[..., None], world: World) -> dict[str, Any]:
    """Train what is missing of a training and return its outcome. A failure is recorded, not raised.

    Raises RunFailures where one of several processes cannot go on: the others cannot go on without it.
    """
    place = TrainingFolder(folder / training.id)
    if (ended := world.broadcast(place.outcome if place.done else None)) is not None:
        return ended
    if world.leads:
        place.begin({"id": training.id, **training.identity, "versions": provenance.versions()})
        notify("iclkit_training_started", training=training)
    try:
        start = _prior_weights(training, folder)
        job = TrainingJob(training, place, start, world)
        tokens_seen = 0
        for snapshot in training.config.trainer.build().fit(job):
            tokens_seen = snapshot.tokens_seen
            if world.leads:
                place.save_snapshot(snapshot.step, snapshot.tokens_seen, snapshot.weights, snapshot.history)
                notify("iclkit_snapshot", training=training, step=snapshot.step, history=snapshot.history)
        outcome = _costs(job, tokens_seen)
    except Exception as error:  # one training's failure must not stop the others
        brief = str(error) if isinstance(error, IclkitError) else f"{type(error).__name__}: {error}"
        if not world.shares(error):
            raise RunFailures(
                f"rank {world.rank} of {world.size} stopped in training {training.id}: {brief}; the whole run ends, "
                "what was finished is kept, and running again continues"
            ) from error
        outcome = {"status": "failed", "error": brief, "traceback": traceback.format_exc()}
    if world.leads:
        place.end(outcome)
        notify("iclkit_training_finished", training=training, outcome=outcome)
    return world.broadcast(outcome)


def _costs(job: TrainingJob, tokens_seen: int) -> dict[str, Any]:
    wall_time = job.wall_time
    return {
        "status": "done",
        "wall_time": wall_time,
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "tokens_per_second": tokens_seen / wall_time,
        "parameters": sum(parameter.numel() for parameter in job.module.parameters()),
        "device": str(next(job.module.parameters()).device),
        "threads": torch.get_num_threads(),
    }


def _prior_weights(training: Training, folder: Path) -> Mapping[str, Tensor] | None:
    """Return the prior's last weights, grown to the model's shape where it differs."""
    if training.prior is None:
        return None
    place = TrainingFolder(folder / training.prior.id)
    if not place.done:
        raise StoreError(f"its prior, training {training.prior.id}, is not done")
    small = place.weights(place.steps()[-1])
    spec, config = training.config.model.spec, training.config
    large = build_module(config).state_dict()
    if {name: value.shape for name, value in small.items()} == {name: value.shape for name, value in large.items()}:
        return small
    if spec.grow is None or config.grow is None:
        can = "can" if spec.grow else "cannot"
        text = f"its shapes differ from the model's; give prior.grow, for a model that can grow ({spec.name} {can})"
        raise ConfigError([Problem("prior.model", text)])
    return resolve(spec.grow)(small, large, config.grow)
