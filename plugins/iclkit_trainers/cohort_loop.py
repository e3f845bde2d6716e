"""Many trainings as one tensor program: each member's weights are a row of one tensor; to be read with `loop`.

Forward and backward pass run on all members at once. Everything else, optimizer, history, states, is a member's own
and works on its row, so that it is what a training alone does. The rows begin, and the parameters in them, at
multiples of 64 bytes, as if each had been allocated by itself.

Shapes: M members, B sequences of each, T positions, P numbers in a row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from iclkit.api import Batch, Cohort, ConfigError, Job, Problem, Snapshot, TrainingDiverged
from iclkit_trainers import loop
from iclkit_trainers.configs import AccelerateConfig
from iclkit_trainers.gradients import to_device
from iclkit_trainers.noise import draws
from iclkit_trainers.optimizers import COLUMNS, last_step, make_optimizer
from iclkit_trainers.schedules import learning_rate
from iclkit_trainers.state import pack_optimizer, unpack_optimizer

_ALIGNED = 16  # float32 numbers in 64 bytes
_CPU_TOKENS = 1 << 12  # how many tokens go through the models at a time: more fall out of cache
_DEVICE_TOKENS = 1 << 17  # and on an accelerator, for its memory

Event = tuple[int, Snapshot | TrainingDiverged]


class Member(loop.Loop):
    """One training of a cohort: what it records and saves, and its optimizer."""

    def __init__(self, number: int, config: AccelerateConfig, job: Job, accelerator: Accelerator):
        super().__init__(
            job,
            accelerator,
            steps=last_step(config, job.length),
            tokens=config.batch_size * job.length,
            snapshots=config.snapshots,
            resolution=config.resolution,
            columns=COLUMNS,
        )
        self.number, self.config = number, config
        if job.start is not None:
            job.module.load_state_dict(job.start)
        job.module.to(accelerator.device)
        self.parameters = {name: p for name, p in job.module.named_parameters() if p.requires_grad}
        self.optimizer: Optimizer | None = None
        self.moments: Mapping[str, Tensor] = {}
        restored = self.resume()
        self.begins = max(restored, 0)
        self.due = {step for step in self.snapshots if step > restored}  # a state is saved after its snapshot is

    def lie_in(self, row: Tensor, gradient: Tensor, places: Mapping[str, int]) -> None:
        """Move to a row of weights, (P,), that holds this member's, and the row of their gradients."""
        if self.optimizer is not None:
            self.moments = pack_optimizer(self.optimizer, None)
        for name, parameter in self.parameters.items():
            parameter.data = row[places[name] : places[name] + parameter.numel()].view_as(parameter)
        weights = Parameter(row)
        weights.grad = gradient
        self.optimizer = make_optimizer(self.config, [weights])
        unpack_optimizer(self.moments, self.optimizer, None)

    def move(self, rate: float) -> None:
        """Update the weights by the gradient."""
        assert self.optimizer is not None
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of the update that follows `step` updates."""
        config = self.config
        return learning_rate(
            step, steps=config.steps, peak=config.learning_rate, schedule=config.schedule, warmup=config.warmup
        )

    def pack(self) -> dict[str, Tensor]:
        """Return the state of the optimizer."""
        return dict(self.moments) if self.optimizer is None else pack_optimizer(self.optimizer, None)

    def save(self, step: int) -> None:
        """Save the state at a step."""
        self.job.save(step, self.state(step))

    def unpack(self, state: Mapping[str, Tensor]) -> None:
        """Keep it for when the weights lie in their row."""
        self.moments = {name: value for name, value in state.items() if name.startswith("optimizer.")}


class Piece:
    """Members that go through the model at once, as many as fit into a cache.

    Parameters
    ----------
    places : where each parameter begins in a row.
    weights, gradients : the members' rows, (M, P).
    alone : whether batches are so large that a piece is never more than one member; its own module serves then.

    """

    def __init__(
        self,
        cohort: Cohort,
        members: Sequence[Member],
        places: Mapping[str, int],
        weights: Tensor,
        gradients: Tensor,
        alone: bool,
    ):
        self.cohort, self.members, self.alone = cohort, members, alone
        self.module = members[0].job.module if alone else cohort.stack([member.number for member in members])
        named = dict(self.module.train().named_parameters())
        self.parameters = [named[name] for name in places]
        self.slots = []  # where the parameters' gradients go
        for start, parameter in zip(places.values(), self.parameters, strict=True):
            span = slice(start, start + parameter.numel() // len(members))
            parameter.data = weights[:, span].view(parameter.shape)
            self.slots.append(gradients[:, span].view(parameter.shape))

    def backward(self, step: int) -> tuple[Tensor, Tensor]:
        """Fill in the gradients of each member's mean loss; return its sums by position, (M, 2, T), and it, (M,)."""
        batches = [member.job.data.batch(step, member.config.batch_size) for member in self.members]
        losses = self.losses(batches)  # (M, B, T)
        mask = torch.stack([batch.mask for batch in batches]).to(losses.device)
        share = 1 / mask.sum((1, 2)).clamp(min=1)  # (M,); nothing scored: the loss is 0
        outputs = share[:, None, None].expand_as(losses)
        made = torch.autograd.grad(losses, self.parameters, outputs, materialize_grads=True)
        torch._foreach_copy_(self.slots, made)
        sums = torch.stack((losses.detach().sum(1), mask.sum(1)), dim=1)
        return sums, sums[:, 0].sum(1) * share

    def losses(self, batches: Sequence[Batch]) -> Tensor:
        """Return the loss of each token, (M, B, T)."""
        if not self.alone:
            return self.cohort.loss(self.module, batches)
        return self.members[0].job.loss(self.module, to_device(batches[0], self.slots[0].device))[None]


class CohortLoop:
    """The members of a cohort from their saved steps to the last.

    Those saved earlier go first; where others were saved, these join. A member that diverges leaves. Either way the
    rows are laid out anew: a member's bits depend on its own row alone.
    """

    def __init__(self, cohort: Cohort, configs: Sequence[AccelerateConfig], accelerator: Accelerator):
        if accelerator.num_processes > 1:
            raise _refused(f"a cohort runs in one process, not in {accelerator.num_processes}")
        if any(draws(job.module) for job in cohort.jobs):
            raise _refused("the model drops activations at random, and a cohort cannot draw for each member by itself")
        self.cohort = cohort
        self.members = [
            Member(number, config, job, accelerator)
            for number, (config, job) in enumerate(zip(configs, cohort.jobs, strict=True))
        ]
        self.going: list[Member] = []

    def run(self) -> Iterator[Event]:
        """Train, yielding snapshots and what diverged."""
        members, saved = self.members, time.monotonic()
        for step in range(min(member.begins for member in members), members[0].steps + 1):
            if joining := [member for member in members if member.begins == step]:
                self.lay_out(sorted(self.going + joining, key=lambda member: member.number))
            if step % loop.REPORT_STEPS == 0:
                yield from self.each(partial(Member.check, step=step))
            due = [member for member in self.going if step in member.due]
            yield from self.each(partial(Member.snapshot, step=step), due)
            if time.monotonic() - saved > loop.SAVE_SECONDS:
                due, saved = self.going, time.monotonic()
            yield from self.each(partial(Member.save, step=step), due)
            if self.going and step < members[0].steps:
                self.update(step)

    def each(
        self, act: Callable[[Member], Snapshot | None], members: Sequence[Member] | None = None
    ) -> Iterator[Event]:
        """Let members that are still going do something; yield their snapshots, and go on without the diverged."""
        lost = []
        for member in self.going if members is None else [one for one in members if one in self.going]:
            try:
                made: Snapshot | TrainingDiverged | None = act(member)
            except TrainingDiverged as error:
                made = error
                lost.append(member)
            if made is not None:
                yield member.number, made
        if lost:
            self.lay_out([member for member in self.going if member not in lost])

    def lay_out(self, going: list[Member]) -> None:
        """Put the weights of these members into rows, and stack their models on them."""
        self.going = going
        if not going:
            return
        places, size = {}, 0
        for name, parameter in going[0].parameters.items():
            places[name] = size
            size += -(-parameter.numel() // _ALIGNED) * _ALIGNED
        device = going[0].accelerator.device
        self.weights, self.gradients, self.before = torch.zeros(3, len(going), size, device=device).unbind()  # (M, P)
        for row, member in zip(self.weights, going, strict=True):
            for name, parameter in member.parameters.items():
                row[places[name] : places[name] + parameter.numel()] = parameter.detach().flatten()
        tokens = going[0].tokens
        size = max(1, (_DEVICE_TOKENS if device.type != "cpu" else _CPU_TOKENS) // tokens)
        self.pieces = [
            Piece(self.cohort, going[some], places, self.weights[some], self.gradients[some], size == 1)
            for some in (slice(start, start + size) for start in range(0, len(going), size))
        ]
        for member, row, gradient in zip(going, self.weights, self.gradients, strict=True):
            member.lie_in(row, gradient, places)
        clips = [torch.inf if member.config.clip is None else member.config.clip for member in going]
        self.clips = torch.tensor(clips, device=device) if min(clips) < torch.inf else None

    def update(self, step: int) -> None:
        """Make the update of all members that follows `step` updates."""
        going = self.going
        made = [piece.backward(step) for piece in self.pieces]
        sums, losses = (torch.cat(parts) for parts in zip(*made, strict=True))
        rates = [member.learning_rate(step) for member in going]
        recorded = going[0].is_recorded(step)
        if recorded or self.clips is not None:
            norm = clipped = _norms(self.gradients)  # (M,)
            if self.clips is not None:
                factor = torch.where(self.clips.isinf(), 1.0, (self.clips / (norm + 1e-6)).clamp(max=1.0))
                self.gradients *= factor[:, None]
                clipped = norm * factor
        if recorded:
            parameter_norm = _norms(self.weights)
            self.before.copy_(self.weights)
        for member, rate in zip(going, rates, strict=True):
            member.move(rate)
        if recorded:
            update_norm = _norms(self.before.sub_(self.weights))
            for i, member in enumerate(going):
                member.history.record(
                    step,
                    sums[i],
                    learning_rate=rates[i],
                    gradient_norm=norm[i],
                    clipped_gradient_norm=clipped[i],
                    parameter_norm=parameter_norm[i],
                    update_norm=update_norm[i],
                )
        for member, loss in zip(going, losses, strict=True):
            member.history.watch(loss)


def _norms(rows: Tensor) -> Tensor:
    """Return the norm of each row, (M, P) -> (M,), each taken by itself: the order of a sum must not depend on M."""
    return torch.stack(torch._foreach_norm(list(rows.unbind())))


def _refused(text: str) -> ConfigError:
    return ConfigError([Problem("trainer.stack", f"{text}; allowed here: false")])
