"""Run one training: build, restore, fit, save snapshots. Only what shapes the weights enters here."""

import resource
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from iclkit import heads, provenance
from iclkit.data import TrainingSequences, prior_sequences, select
from iclkit.errors import ConfigError, IclkitError, Problem, RunFailures, StoreError, TrainingDiverged
from iclkit.keys import Key
from iclkit.modules import build_module, stack_modules
from iclkit.plan import Training
from iclkit.predictors import Mixture, Predictor, mixture_over
from iclkit.protocols import Batch, Snapshot
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
        self._sharing = 1
        self._reported = 0.0

    @cached_property
    def prior(self) -> TrainingSequences | None:
        """What the training that runs first is trained on, at this training's length; None without one."""
        return prior_sequences(self.config, self.source)

    @property
    def wall_time(self) -> float:
        """Seconds spent on this training, in earlier sessions too; its share of those spent on a cohort."""
        return self._before + (time.perf_counter() - self._began) / self._sharing

    def share_time(self, members: int) -> None:
        """Count the time from now on as that of so many trainings."""
        self._before, self._began, self._sharing = self.wall_time, time.perf_counter(), members

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


class TrainingCohort:
    """What a trainer gets for trainings that run together; see `iclkit.protocols.Cohort`."""

    def __init__(self, jobs: Sequence[TrainingJob]):
        self.jobs = jobs
        self.trainers = [job.config.trainer.build() for job in jobs]

    def stack(self, members: Sequence[int]) -> Module:
        """Return these members' models as one, with a leading member axis."""
        return stack_modules(self.jobs[0].config, [self.jobs[member].module for member in members])

    def loss(self, module: Module, batches: Sequence[Batch]) -> Tensor:
        """Return the loss of each token, float32 (M, B, T), nats."""
        first, config = self.jobs[0], self.jobs[0].config
        model = config.model
        longest = None if model.spec.stacked or model.spec.unlimited(model.config) else config.context
        return heads.losses_together(module, first.facts, batches, config.data.bos, longest)


def run(training: Training, folder: Path, notify: Callable[..., None], world: World) -> dict[str, Any]:
    """Train what is missing of a training and return its outcome. A failure is recorded, not raised.

    Raises RunFailures where one of several processes cannot go on: the others cannot go on without it.
    """
    course = _Course(training, folder, notify, world)
    if course.outcome is None:
        try:
            for snapshot in training.config.trainer.build().fit(course.begin()):
                course.keep(snapshot)
            course.end()
        except Exception as error:  # one training's failure must not stop the others
            course.fail(error)
    assert course.outcome is not None
    return course.outcome


def run_together(
    trainings: Sequence[Training], folder: Path, notify: Callable[..., None], world: World
) -> dict[str, dict[str, Any]]:
    """Train what is missing of a cohort as one tensor program; like `run`, outcomes by training."""
    courses = [_Course(training, folder, notify, world) for training in trainings]
    going = []
    for course in courses:
        if course.outcome is None:
            try:
                course.begin()
                going.append(course)
            except Exception as error:
                course.fail(error)
    try:
        if going:
            _train_together(going)
    except Exception as error:
        for course in going:
            if course.outcome is None:
                course.fail(error)
    return {course.training.id: course.outcome for course in courses if course.outcome is not None}


def _train_together(courses: Sequence["_Course"]) -> None:
    """Train members that have begun; each ends with an outcome of its own."""

    def share() -> None:
        """Let those on their way share the time from now on."""
        left = [course.job for course in courses if course.outcome is None]
        for job in left:
            job.share_time(len(left))

    share()
    cohort = TrainingCohort([course.job for course in courses])
    for member, made in cohort.trainers[0].fit_together(cohort):
        if isinstance(made, TrainingDiverged):
            courses[member].fail(made)
            share()
        else:
            courses[member].keep(made)
    for course in courses:
        if course.outcome is None:
            course.end()


class _Course:
    """One training from its beginning to its outcome: what is kept of it, and who is told."""

    def __init__(self, training: Training, folder: Path, notify: Callable[..., None], world: World):
        self.training, self._folder, self._notify, self._world = training, folder, notify, world
        self.place = TrainingFolder(folder / training.id)
        self.outcome: dict[str, Any] | None = world.broadcast(self.place.outcome if self.place.done else None)
        self._tokens_seen = 0

    def begin(self) -> TrainingJob:
        """Open the folder and build the job."""
        training, world = self.training, self._world
        if world.leads:
            self.place.begin({"id": training.id, **training.identity, "versions": provenance.versions()})
            self._notify("iclkit_training_started", training=training)
        self.job = TrainingJob(training, self.place, _prior_weights(training, self._folder), world)
        return self.job

    def keep(self, snapshot: Snapshot) -> None:
        """Save a snapshot."""
        self._tokens_seen = snapshot.tokens_seen
        if self._world.leads:
            self.place.save_snapshot(snapshot.step, snapshot.tokens_seen, snapshot.weights, snapshot.history)
            self._notify("iclkit_snapshot", training=self.training, step=snapshot.step, history=snapshot.history)

    def end(self) -> None:
        """Record that the training is done, and what it cost."""
        self._ended(_costs(self.job, self._tokens_seen))

    def fail(self, error: Exception) -> None:
        """Record why the training stopped; raises RunFailures where the other processes cannot know."""
        brief = str(error) if isinstance(error, IclkitError) else f"{type(error).__name__}: {error}"
        if not self._world.shares(error):
            raise RunFailures(
                f"rank {self._world.rank} of {self._world.size} stopped in training {self.training.id}: {brief}; the "
                "whole run ends, what was finished is kept, and running again continues"
            ) from error
        lines = traceback.format_exception(error)
        self._ended({"status": "failed", "error": brief, "traceback": "".join(lines)})

    def _ended(self, outcome: dict[str, Any]) -> None:
        if self._world.leads:
            self.place.end(outcome)
            self._notify("iclkit_training_finished", training=self.training, outcome=outcome)
        self.outcome = self._world.broadcast(outcome)


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
