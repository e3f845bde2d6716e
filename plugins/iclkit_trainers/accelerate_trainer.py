"""Gradient descent: one batch, one update, at every step; to be read from top to bottom.

The step counts the updates made. Everything at a step is a function of the weights, the optimizer's moments and the
step number, so a training that was cut off continues bit for bit from its saved state.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import Module, Parameter
from torch.optim import SGD, Adam, AdamW, Optimizer

from iclkit.api import Batch, Job, Snapshot, TrainingDiverged
from iclkit_trainers.accelerator import fresh_accelerator, rows, without_autocast
from iclkit_trainers.configs import AccelerateConfig
from iclkit_trainers.history import History, first_bad
from iclkit_trainers.schedules import is_recorded, learning_rate, snapshot_steps
from iclkit_trainers.state import pack, unpack, weights

REPORT_STEPS = 20  # how often the loss is looked at: reported, and checked for divergence
SAVE_SECONDS = 30.0  # how much work a kill may lose, at most


class AccelerateTrainer:
    """Train with torch's optimizers on whatever devices accelerate finds; implements `Trainer`.

    Parameters
    ----------
    config : all that is told in `[trainer]`.

    """

    def __init__(self, config: AccelerateConfig):
        self.config = config

    def fit(self, job: Job) -> Iterator[Snapshot]:
        """Train, yielding snapshots; one training at a time per process.

        Raises TrainingDiverged where loss or weights are not finite, ValueError where the batch cannot be split
        over the processes or the device lacks the precision.
        """
        with fresh_accelerator(self.config.precision) as accelerator:
            try:
                yield from _Training(self.config, job, accelerator).run()
            finally:
                without_autocast(job.module)


class _Training:
    """One job, the optimizer and history that go with it, and how to make a step."""

    def __init__(self, config: AccelerateConfig, job: Job, accelerator: Accelerator):
        self.config, self.job, self.accelerator = config, job, accelerator
        self.rows = rows(config.batch_size, accelerator.process_index, accelerator.num_processes)
        self.snapshots = snapshot_steps(config.snapshots, config.steps)
        if job.start is not None:
            job.module.load_state_dict(job.start)
        self.module = accelerator.prepare_model(job.module.train())
        self.parameters = [p for p in job.module.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(config, self.parameters)
        self.random = draws(job.module)
        records = sum(is_recorded(step, config.resolution) for step in range(config.steps))
        self.history = History(records, job.length, accelerator)
        self.checked = 0  # the losses of all steps before this one are finite

    def run(self) -> Iterator[Snapshot]:
        """Go from the saved state, if there is one, to the last step."""
        config, job = self.config, self.job
        restored, state = job.restore() or (-1, None)
        if state is not None:
            unpack(state, job.module, self.optimizer, self.accelerator.scaler, self.history)
            self.checked = restored
        due = {step for step in self.snapshots if step > restored}  # a state is saved after its snapshot is
        saved = time.monotonic()
        alone = self.accelerator.num_processes == 1  # several would have to agree on the time
        for step in range(max(restored, 0), config.steps + 1):
            if step % REPORT_STEPS == 0:
                self.check(step)
            if step in due:
                yield self.snapshot(step)
            late = alone and time.monotonic() - saved > SAVE_SECONDS
            if step in due or late:
                job.save(step, self.state(step))
                saved = time.monotonic()
            if step < config.steps:
                self.update(step)

    def update(self, step: int) -> None:
        """Make the update that follows `step` updates."""
        config, scaler, history = self.config, self.accelerator.scaler, self.history
        rate = learning_rate(
            step,
            steps=config.steps,
            peak=config.learning_rate,
            schedule=config.schedule,
            warmup=config.warmup,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.random:
            self.job.seed(step)
        batch = self.batch(step)
        losses = self.job.loss(self.module, batch)  # (B, T), B of this process
        loss = losses.sum() / self.scored(batch)
        self.accelerator.backward(loss)
        recorded = is_recorded(step, config.resolution)
        if recorded or config.clip is not None:
            if scaler is not None:
                scaler.unscale_(self.optimizer)
            gradients = [p.grad for p in self.parameters if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            if config.clip is not None:
                torch.nn.utils.clip_grads_with_norm_(self.parameters, config.clip, norm)
            if recorded:
                history.record(step, losses, batch.mask, norm, rate)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)  # leaves out an update whose gradient overflowed, and scales less
            scaler.update()
        self.optimizer.zero_grad()
        history.watch(loss)

    def batch(self, step: int) -> Batch:
        """Return this process's rows of the batch of a step, on its device."""
        batch = self.job.data.batch(step, self.config.batch_size, self.rows)
        device = self.accelerator.device
        if batch.tokens.device == device:
            return batch
        return batch.replace(tokens=batch.tokens.to(device), mask=batch.mask.to(device))

    def scored(self, batch: Batch) -> Tensor:
        """Return by what to divide this process's sum so that the mean over processes is that of the batch."""
        count = batch.mask.sum()
        processes = self.accelerator.num_processes
        if processes > 1:
            count = self.accelerator.reduce(count, "sum") / processes
        return count.clamp(min=1 / processes)  # nothing scored: the loss is 0

    def check(self, step: int) -> None:
        """Fetch the losses of the steps before this one; raises TrainingDiverged where one is not finite."""
        losses = self.history.flush()
        bad = first_bad(losses)
        if bad is not None:
            raise self.diverged(f"loss became {losses[bad]}", self.checked + bad)
        if losses:
            self.checked = step
            self.job.progress(step, self.config.steps, losses[-1])

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
        return Snapshot(
            step=step,
            tokens_seen=step * self.config.batch_size * self.job.length,
            weights=now,
            history=self.history.arrays(),
        )

    def state(self, step: int) -> dict[str, Tensor]:
        """Return what is needed to continue from now."""
        self.check(step)
        return pack(self.job.module, self.optimizer, self.accelerator.scaler, self.history)


def make_optimizer(config: AccelerateConfig, parameters: list[Parameter]) -> Optimizer:
    """Make torch's optimizer, fused; its learning rate is set at every step."""
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "sgd":
        return SGD(parameters, rate, momentum=config.momentum, weight_decay=decay, fused=True)
    kind = AdamW if config.optimizer == "adamw" else Adam
    return kind(parameters, rate, betas=(config.beta1, config.beta2), weight_decay=decay, fused=True)


def draws(module: Module) -> bool:
    """Tell whether a module draws random numbers when it trains: whether any part has a dropout rate above 0."""
    rates = [getattr(part, name, None) for part in module.modules() for name in ("p", "dropout")]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)
