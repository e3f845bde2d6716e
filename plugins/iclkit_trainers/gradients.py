"""Gradients of the mean loss on a part of the data, beside those that accelerate takes for the update.

They are summed in float64 over pieces and processes, on the bare module: its `.grad` stays as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from attrs import field, frozen
from torch import Tensor
from torch.nn import Parameter

from iclkit.api import Batch, ConfigError, Job, Problem, TrainingData
from iclkit_trainers.accelerator import rows

_PIECE_TOKENS = 1 << 15  # how many tokens go through the module at a time
_KEPT_TOKENS = 1 << 24  # data that are taken whole are kept on the device up to this size


@frozen(kw_only=True, eq=False)
class Gradient:
    """The gradient of a mean loss.

    Parameters
    ----------
    values : float64 (number of weights,), over all processes.
    loss : the mean loss over the scored positions, float64 scalar, nats, over all processes.
    sums : float64 (2, T), this process's summed losses by position, and how many they are (their summed weights).

    """

    values: Tensor
    loss: Tensor
    sums: Tensor = field(repr=False)


class Part:
    """Some sequences and the gradient of their mean loss: all of them where they are few enough, or a batch.

    All of them count by the weights of their topics, as they do in training.

    Parameters
    ----------
    data : the sequences.
    size : sequences in a batch, over all processes.
    whole : up to how many sequences are taken whole; math.inf for all, whose number must be finite then.

    """

    def __init__(self, job: Job, data: TrainingData, accelerator: Accelerator, *, size: int, whole: float):
        self._job, self._data, self._accelerator = job, data, accelerator
        self._parameters = [p for p in job.module.parameters() if p.requires_grad]
        self.whole = data.count is not None and data.count <= whole
        if self.whole:
            assert data.count is not None
            self.sequences = data.count
        elif whole == math.inf:
            text = '"full" needs data that end; allowed: a number of sequences, or data.topics and data.sequences'
            raise ConfigError([Problem("trainer.batch_size", f"{text} that are numbers")])
        else:
            self.sequences = size
            self._rows = rows(size, accelerator.process_index, accelerator.num_processes)
        self._chunk = max(1, _PIECE_TOKENS // job.length)
        self._kept: list[tuple[Batch, Tensor]] | None = None

    def gradient(self, step: int) -> Gradient:
        """Return the gradient at the weights of now; `step` chooses the batch."""
        job, length = self._job, self._job.length
        device = self._accelerator.device
        total = torch.zeros(2 + sum(p.numel() for p in self._parameters), dtype=torch.float64, device=device)
        sums = torch.zeros(2, length, dtype=torch.float64, device=device)
        for batch, weight in self._pieces(step):
            losses = weight[:, None] * job.loss(job.module, batch).double()
            loss = losses.sum()
            found = torch.autograd.grad(loss, self._parameters, allow_unused=True, materialize_grads=True)
            counts = (weight[:, None] * batch.mask).sum(0)
            total += torch.cat([loss.detach()[None], counts.sum()[None], flat(found)])
            sums += torch.stack((losses.detach().sum(0), counts))
        if self._accelerator.num_processes > 1:
            total = self._accelerator.reduce(total, "sum")
        loss, count = total[0], total[1]
        return Gradient(values=total[2:] / count, loss=loss / count, sums=sums)

    def _pieces(self, step: int) -> Iterator[tuple[Batch, Tensor]]:
        """Yield this process's sequences in pieces, each with its sequences' weights, float64 (b,)."""
        if not self.whole:
            batch = to_device(self._data.batch(step, self.sequences, self._rows), self._accelerator.device)
            weight = torch.ones(len(batch), dtype=torch.float64, device=batch.tokens.device)
            for start in range(0, len(batch), self._chunk):
                piece = slice(start, start + self._chunk)
                yield select(batch, piece), weight[piece]
        elif self.sequences * self._job.length <= _KEPT_TOKENS:
            if self._kept is None:
                self._kept = list(self._all())
            yield from self._kept
        else:
            yield from self._all()

    def _all(self) -> Iterator[tuple[Batch, Tensor]]:
        weights, device = self._data.weights, self._accelerator.device
        assert weights is not None
        own = slice(self._accelerator.process_index, None, self._accelerator.num_processes)
        for whole in self._data.all(self._chunk):
            batch = select(whole, own)
            yield to_device(batch, device), (weights[batch.topic] * len(weights)).to(device)


def subset(job: Job, topics: int | None, sequences: int | None) -> TrainingData | None:
    """Return the subset J of the data: its first topics and sequences, or what the prior is trained on, or None."""
    return job.prior if topics is None and sequences is None else job.data.subset(topics, sequences)


def largest_sequence_gradient(job: Job, batch: Batch, accelerator: Accelerator) -> Tensor:
    """Return the largest norm, over all processes, of the gradient of one sequence's mean loss; a float64 scalar.

    It is L_t of Luo, Luo and Li, NeurIPS 2022, Theorems 6.2 and 6.3, on the batch.
    """
    parameters = [p for p in job.module.parameters() if p.requires_grad]
    norms = []
    for row in range(len(batch)):
        one = select(batch, slice(row, row + 1))
        loss = job.loss(job.module, one).sum() / one.mask.sum().clamp(min=1)
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        norms.append(torch.linalg.vector_norm(flat(found)))
    norm = torch.stack(norms).max()
    return accelerator.gather(norm[None]).max() if accelerator.num_processes > 1 else norm


def flat(tensors: tuple[Tensor, ...] | list[Tensor] | list[Parameter]) -> Tensor:
    """Return all entries in a row, float64."""
    return torch.cat([tensor.detach().reshape(-1).double() for tensor in tensors])


def select(batch: Batch, piece: slice) -> Batch:
    """Return some sequences of a batch; the topics stay."""
    parts = {name: getattr(batch, name)[piece] for name in ("tokens", "mask", "topic", "number")}
    return batch.replace(**parts)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch with tokens and mask on a device."""
    if batch.tokens.device == device:
        return batch
    return batch.replace(tokens=batch.tokens.to(device), mask=batch.mask.to(device))
