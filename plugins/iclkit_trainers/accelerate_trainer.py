"""Gradient descent: one batch, one update, at every step; to be read from top to bottom, and `loop` with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from iclkit.api import Batch, Cohort, ConfigError, Job, Problem, Snapshot, TrainingDiverged
from iclkit_trainers.accelerator import fresh_accelerator, rows, without_autocast
from iclkit_trainers.cohort_loop import CohortLoop
from iclkit_trainers.configs import COSTLY, AccelerateConfig
from iclkit_trainers.gradients import Part, flat, largest_sequence_gradient, select, subset, to_device
from iclkit_trainers.loop import Loop
from iclkit_trainers.noise import Noise, add, draws
from iclkit_trainers.optimizers import COLUMNS, last_step, make_optimizer
from iclkit_trainers.schedules import Plateau, learning_rate
from iclkit_trainers.state import pack_optimizer, unpack_optimizer


class AccelerateTrainer:
    """Train with torch's optimizers on whatever devices accelerate finds; implements `Trainer`.

    Its history holds, at the recorded steps and before the update, what `COLUMNS` names and what `record` asks for:
    `discrepancy` (squared norm, float64) and `sequence_gradient_norm` (float64).

    Parameters
    ----------
    config : all that is told in `[trainer]`.

    """

    def __init__(self, config: AccelerateConfig):
        self.config = config

    def fit(self, job: Job) -> Iterator[Snapshot]:
        """Train, yielding snapshots; one training at a time per process.

        Raises TrainingDiverged where loss or weights are not finite, ConfigError where the batch cannot be split
        over the processes or there is no subset to compare with, ValueError where the device lacks the precision.
        """
        with fresh_accelerator(self.config.precision) as accelerator:
            try:
                yield from _Training(self.config, job, accelerator).run()
            finally:
                without_autocast(job.module)

    def fit_together(self, cohort: Cohort) -> Iterator[tuple[int, Snapshot | TrainingDiverged]]:
        """Train the members of a cohort as one tensor program; see `iclkit.protocols.CohortTrainer`.

        Raises ConfigError where a model draws random numbers or cannot be stacked, or there are several processes.
        """
        with fresh_accelerator("float32") as accelerator:
            yield from CohortLoop(cohort, [trainer.config for trainer in cohort.trainers], accelerator).run()


class _Training(Loop):
    """One job, the optimizer and history that go with it, and how to make a step."""

    def __init__(self, config: AccelerateConfig, job: Job, accelerator: Accelerator):
        super().__init__(
            job,
            accelerator,
            steps=last_step(config, job.length),
            tokens=config.batch_size * job.length,
            snapshots=config.snapshots,
            resolution=config.resolution,
            columns=COLUMNS | {COSTLY[name]: np.float64 for name in config.record},
            max_seconds=config.max_seconds,
        )
        self.config = config
        self.rows = rows(config.batch_size, accelerator.process_index, accelerator.num_processes)
        self.pieces = _pieces(self.rows.stop - self.rows.start, config.accumulate)
        if job.start is not None:
            job.module.load_state_dict(job.start)
        self.module = accelerator.prepare_model(job.module.train())
        self.parameters = [p for p in job.module.parameters() if p.requires_grad]
        self.values = [p.detach() for p in self.parameters]  # the same memory
        self.before = [torch.empty_like(value) for value in self.values]
        self.optimizer = make_optimizer(config, self.parameters)
        self.plateau = Plateau(
            window=config.plateau_steps,
            factor=config.plateau_factor,
            tolerance=config.plateau_tolerance,
            warmup=config.warmup,
        )
        self.random = draws(job.module)
        if config.optimizer == "sgld":
            self.noise = Noise(job.key, sum(p.numel() for p in self.parameters), accelerator.device)
        if "discrepancy" in config.record:
            self.whole, self.subset = self._parts()

    def _parts(self) -> tuple[Part, Part]:
        """Return the data S and their subset J."""
        config, job = self.config, self.job
        data = subset(job, config.subset_topics, config.subset_sequences)
        if data is None:
            text = "discrepancy needs a subset; give subset_topics or subset_sequences, or a table [prior]"
            raise ConfigError([Problem("trainer.record", text)])
        size, limit = config.batch_size, config.record_sequences
        whole, part = (Part(job, each, self.accelerator, size=size, whole=limit) for each in (job.data, data))
        return whole, part

    def update(self, step: int) -> None:
        """Make the update that follows `step` updates."""
        config, scaler, optimizer = self.config, self.accelerator.scaler, self.optimizer
        rate = self.learning_rate(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if self.random:
            self.job.seed(step)
        batch = to_device(self.job.data.batch(step, config.batch_size, self.rows), self.accelerator.device)
        loss, sums = self.backward(batch)
        recorded = self.is_recorded(step)
        if recorded or config.clip is not None:
            if scaler is not None:
                scaler.unscale_(optimizer)
            gradients = [p.grad for p in self.parameters if p.grad is not None]
            norm = clipped = get_total_norm(gradients)
            extra = self.extra(step, batch, gradients) if recorded and config.record else {}
            if config.clip is not None:
                clip_grads_with_norm_(self.parameters, config.clip, norm)
                clipped = norm * (config.clip / (norm + 1e-6)).clamp(max=1.0)  # as it does
        if recorded:
            parameter_norm = get_total_norm(self.values)
            torch._foreach_copy_(self.before, self.values)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)  # leaves out an update whose gradient overflowed, and scales less
            scaler.update()
        optimizer.zero_grad()
        if config.beta is not None:
            add(self.parameters, self.noise.at(step), (2 * rate / config.beta) ** 0.5)
        if recorded:
            torch._foreach_sub_(self.before, self.values)
            self.history.record(
                step,
                sums,
                learning_rate=rate,
                gradient_norm=norm,
                clipped_gradient_norm=clipped,
                parameter_norm=parameter_norm,
                update_norm=get_total_norm(self.before),
                **extra,
            )
        self.history.watch(loss)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of the update that follows `step` updates."""
        config = self.config
        if config.schedule == "plateau" and self.plateau.due(step):
            self.check(step)
        rate = learning_rate(
            step, steps=config.steps, peak=config.learning_rate, schedule=config.schedule, warmup=config.warmup
        )
        return rate * self.plateau.scale

    def backward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Fill in the gradients of the mean loss; return this process's share of it, and its sums by position."""
        scored, loss, sums = self.scored(batch), None, None
        for piece in self.pieces:
            one = batch if len(self.pieces) == 1 else select(batch, piece)
            last = piece.stop == len(batch)
            with nullcontext() if last else self.accelerator.no_sync(self.module):
                losses = self.job.loss(self.module, one)  # (b, T), b of this process
                share = losses.sum() / scored
                self.accelerator.backward(share)
            by_position = torch.stack((losses.detach().sum(0), one.mask.sum(0)))  # (2, T)
            loss = share.detach() if loss is None else loss + share.detach()
            sums = by_position if sums is None else sums + by_position
        assert loss is not None
        assert sums is not None
        return loss, sums

    def scored(self, batch: Batch) -> Tensor:
        """Return by what to divide this process's sum so that the mean over processes is that of the batch."""
        count = batch.mask.sum()
        processes = self.accelerator.num_processes
        if processes > 1:
            count = self.accelerator.reduce(count, "sum") / processes
        return count.clamp(min=1 / processes)  # nothing scored: the loss is 0

    def extra(self, step: int, batch: Batch, gradients: list[Tensor]) -> dict[str, Tensor]:
        """Return the costly records of a step, at its weights; `gradients` are those of its batch."""
        found = {}
        if "discrepancy" in self.config.record:
            self.reseed(step)
            whole = self.whole.gradient(step).values if self.whole.whole else flat(gradients)
            self.reseed(step)
            found["discrepancy"] = (whole - self.subset.gradient(step).values).square().sum()
        if "sequence-gradient" in self.config.record:
            self.reseed(step)
            found["sequence_gradient_norm"] = largest_sequence_gradient(self.job, batch, self.accelerator)
        return found

    def reseed(self, step: int) -> None:
        """Let the module draw again what it drew at this step."""
        if self.random:
            self.job.seed(step)

    def observe(self, losses: list[float]) -> None:
        """Hear the losses of the next steps."""
        if self.config.schedule == "plateau":
            for loss in losses:
                self.plateau.observe(loss)

    def pack(self) -> dict[str, Tensor]:
        """Return the state of the optimizer, the scaler and the schedule."""
        state = pack_optimizer(self.optimizer, self.accelerator.scaler)
        return state | ({"plateau": self.plateau.state()} if self.config.schedule == "plateau" else {})

    def unpack(self, state: Mapping[str, Tensor]) -> None:
        """Take it back."""
        unpack_optimizer(state, self.optimizer, self.accelerator.scaler)
        if "plateau" in state:
            self.plateau.load(state["plateau"])


def _pieces(count: int, pieces: int) -> list[slice]:
    """Cut a process's sequences into equal pieces; raises ConfigError where that cannot be."""
    if count % pieces:
        text = f"a process's {count} sequences cannot be cut into {pieces} equal pieces"
        raise ConfigError([Problem("trainer.accumulate", text)])
    size = count // pieces
    return [slice(start, start + size) for start in range(0, count, size)]
