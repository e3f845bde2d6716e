"""What is recorded of a training, and the watch over its loss.

Values stay on the device until `flush`, so that a step waits for nothing.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor


class History:
    """The records of a training.

    Parameters
    ----------
    size : how many records there will be at most.
    length : T, positions.
    accelerator : over whose processes sums are taken.
    columns : what is recorded of a step beside its loss, one number each, and as what type it is kept.

    """

    def __init__(self, size: int, length: int, accelerator: Accelerator, columns: Mapping[str, type[np.floating]]):
        self._accelerator = accelerator
        self._count = 0
        self._arrays: dict[str, np.ndarray] = {
            "step": np.zeros(size, np.int64),
            "loss": np.zeros((size, length), np.float32),
        }
        self._arrays |= {name: np.zeros(size, kind) for name, kind in columns.items()}
        self._watched: list[Tensor] = []
        self._steps: list[int] = []
        self._sums: list[Tensor] = []
        self._columns: dict[str, list[Tensor | float]] = {name: [] for name in columns}

    def watch(self, loss: Tensor) -> None:
        """Note a step's loss, a scalar: this process's share, so that the mean over processes is the loss."""
        self._watched.append(loss.detach())

    def record(self, step: int, sums: Tensor, **columns: Tensor | float) -> None:
        """Record a step.

        `sums`, of shape (2, T), holds the sum of this process's losses by position and how many they are; every
        column is a scalar that all processes agree on.
        """
        self._steps.append(step)
        self._sums.append(sums)
        for name, value in columns.items():
            self._columns[name].append(value.detach() if isinstance(value, Tensor) else value)

    def flush(self) -> list[float]:
        """Fetch what was noted and recorded since the last time; return the losses noted, nats, in order."""
        if self._steps:
            new = slice(self._count, self._count + len(self._steps))
            sums, counts = self._over_processes(torch.stack(self._sums), "sum").unbind(1)  # (n, T) each
            self._arrays["step"][new] = self._steps
            self._arrays["loss"][new] = (sums / counts).cpu().numpy()  # 0 / 0 is NaN: never scored
            for name, values in self._columns.items():
                tensors = [value for value in values if isinstance(value, Tensor)]
                self._arrays[name][new] = torch.stack(tensors).cpu().numpy() if tensors else values
                values.clear()
            self._count = new.stop
            self._steps, self._sums = [], []
        if not self._watched:
            return []
        losses = self._over_processes(torch.stack(self._watched), "mean").tolist()
        self._watched = []
        return losses

    def _over_processes(self, values: Tensor, reduction: str) -> Tensor:
        return self._accelerator.reduce(values, reduction) if self._accelerator.num_processes > 1 else values

    def arrays(self) -> dict[str, np.ndarray]:
        """Return copies of what was flushed: step (R,), loss (R, T) in nats, and every column (R,)."""
        return {name: array[: self._count].copy() for name, array in self._arrays.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Begin with records made before."""
        self._count = len(arrays["step"])
        for name, array in arrays.items():
            self._arrays[name][: self._count] = array


def first_bad(losses: list[float]) -> int | None:
    """Return the index of the first loss that is NaN or infinite."""
    return next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
