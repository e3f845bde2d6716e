"""From step to step: resume, look for divergence, take snapshots, save, end. What an update is, a subclass knows.

The step counts the updates made. Everything at a step is a function of the weights, what the optimizer keeps and the
step number, so a training that was cut off continues bit for bit from its saved state.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from iclkit.api import Job, Snapshot, TrainingDiverged
from iclkit_trainers.history import History, first_bad
from iclkit_trainers.schedules import is_recorded, snapshot_steps
from iclkit_trainers.state import pack, unpack, weights

REPORT_STEPS = 20  # how often the loss is looked at: reported, and checked for divergence
SAVE_SECONDS = 30.0  # how much work a kill may lose, at most


class Loop:
    """One job and its history.

    Parameters
    ----------
    steps : updates, at most.
    tokens : how many are trained on in an update, over all processes.
    snapshots, resolution : see `snapshot_steps` and `is_recorded`.
    columns : what the history holds beside the loss, see `History`.
    max_seconds : of wall time, earlier sessions counted, after which the training ends; None for no limit.

    """

    def __init__(
        self,
        job: Job,
        accelerator: Accelerator,
        *,
        steps: int,
        tokens: int,
        snapshots: int | tuple[int, ...],
        resolution: int,
        columns: Mapping[str, type[np.floating]],
        max_seconds: float | None = None,
    ):
        self.job, self.accelerator = job, accelerator
        self.steps, self.tokens, self.resolution, self.max_seconds = steps, tokens, resolution, max_seconds
        self.snapshots = snapshot_steps(snapshots, steps)
        records = sum(self.is_recorded(step) for step in range(steps))
        self.history = History(records, job.length, accelerator, columns)
        self.checked = 0  # the losses of all steps before this one are finite
        self.seconds = 0.0  # spent up to the step that is being made

    def update(self, step: int) -> None:
        """Make the update that follows `step` updates, and watch its loss."""
        raise NotImplementedError

    def observe(self, losses: list[float]) -> None:
        """Hear the losses of the next steps, nats; every step's comes once and in order."""

    def pack(self) -> dict[str, Tensor]:
        """Return what the state holds beside the weights and the history."""
        return {}

    def unpack(self, state: Mapping[str, Tensor]) -> None:
        """Take it back."""

    def is_recorded(self, step: int) -> bool:
        """Tell whether the history has a record of the update that follows `step` updates."""
        return is_recorded(step, self.resolution)

    def run(self) -> Iterator[Snapshot]:
        """Go from the saved state, if there is one, to the last step."""
        job = self.job
        restored = self.resume()
        if restored >= 0 and self.out_of_time():  # saved after the last snapshot
            return
        due = {step for step in self.snapshots if step > restored}  # a state is saved after its snapshot is
        alone = self.accelerator.num_processes == 1  # several would have to agree on the time
        began = saved = time.monotonic()
        before = self.seconds
        for step in range(max(restored, 0), self.steps + 1):
            if step % REPORT_STEPS == 0:
                self.check(step)
            now = time.monotonic()
            self.seconds = before + now - began
            last = self.out_of_time()
            if step in due or last:
                yield self.snapshot(step)
            if step in due or last or (alone and now - saved > SAVE_SECONDS):
                job.save(step, self.state(step))
                saved = now
            if last:
                return
            if step < self.steps:
                self.update(step)

    def resume(self) -> int:
        """Take the saved state back and return its step; -1 without one."""
        restored, state = self.job.restore() or (-1, None)
        if state is not None:
            unpack(state, self.job.module, self.history)
            self.unpack(state)
            self.checked, self.seconds = restored, float(state.get("seconds", 0.0))
        return restored

    def out_of_time(self) -> bool:
        """Tell whether the time is over; the leading process's clock counts."""
        if self.max_seconds is None:
            return False
        if self.accelerator.num_processes > 1:
            leads = self.accelerator.is_main_process
            clock = torch.tensor(self.seconds if leads else 0.0, device=self.accelerator.device)
            self.seconds = float(self.accelerator.reduce(clock, "sum"))
        return self.seconds >= self.max_seconds

    def check(self, step: int) -> None:
        """Fetch the losses of the steps before this one; raises TrainingDiverged where one is not finite."""
        losses = self.history.flush()
        bad = first_bad(losses)
        if bad is not None:
            raise self.diverged(f"loss became {losses[bad]}", self.checked + bad)
        if losses:
            self.checked = step
            self.observe(losses)
            self.job.progress(step, self.steps, losses[-1])

    def diverged(self, what: str, step: int) -> TrainingDiverged:
        """Return the error that says what happened at a step."""
        last = max((good for good in self.snapshots if good < step), default=None)
        kept = "no snapshot was taken before" if last is None else f"last good snapshot at step {last}"
        return TrainingDiverged(f"{what} at step {step}; {kept}")

    def snapshot(self, step: int) -> Snapshot:
        """Return the model as it is now."""
        self.check(step)
        now = weights(self.job.module)
        if not all(value.isfinite().all() for value in now.values()):
            raise self.diverged("weights became NaN or infinite", step)
        return Snapshot(step=step, tokens_seen=step * self.tokens, weights=now, history=self.history.arrays())

    def state(self, step: int) -> dict[str, Tensor]:
        """Return what is needed to continue from now."""
        self.check(step)
        clock = {} if self.max_seconds is None else {"seconds": torch.tensor(self.seconds, dtype=torch.float64)}
        return pack(self.job.module, self.history, self.pack() | clock)
