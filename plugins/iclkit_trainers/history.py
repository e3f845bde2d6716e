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

    """

    def __init__(self, size: int, length: int, accelerator: Accelerator):
        self._accelerator = accelerator
        self._count = 0
        self._arrays: dict[str, np.ndarray] = {
            "step": np.zeros(size, np.int64),
            "loss": np.zeros((size, length), np.float32),
            "gradient_norm": np.zeros(size, np.float32),
            "learning_rate": np.zeros(size, np.float64),
        }
        self._watched: list[Tensor] = []
        self._waiting: list[tuple[int, float]] = []
        self._sums: list[Tensor] = []
        self._norms: list[Tensor] = []

    def watch(self, loss: Tensor) -> None:
        """Note a step's loss, a scalar: this process's share, so that the mean over processes is the loss."""
        self._watched.append(loss.detach())

    def record(self, step: int, losses: Tensor, mask: Tensor, norm: Tensor, learning_rate: float) -> None:
        """Record a step: losses (B, T) of this process's rows with their mask, and the norm of the gradient."""
        self._waiting.append((step, learning_rate))
        self._sums.append(torch.stack((losses.detach().sum(0), mask.sum(0))))  # (2, T)
        self._norms.append(norm)

    def flush(self) -> list[float]:
        """Fetch what was noted and recorded since the last time; return the losses noted, nats, in order."""
        if self._waiting:
            new = slice(self._count, self._count + len(self._waiting))
            sums, counts = self._over_processes(torch.stack(self._sums), "sum").unbind(1)  # (n, T) each
            steps, rates = zip(*self._waiting, strict=True)
            self._arrays["step"][new], self._arrays["learning_rate"][new] = steps, rates
            self._arrays["loss"][new] = (sums / counts).cpu().numpy()  # 0 / 0 is NaN: never scored
            self._arrays["gradient_norm"][new] = torch.stack(self._norms).float().cpu().numpy()
            self._count = new.stop
            self._waiting, self._sums, self._norms = [], [], []
        if not self._watched:
            return []
        losses = self._over_processes(torch.stack(self._watched), "mean").tolist()
        self._watched = []
        return losses

    def _over_processes(self, values: Tensor, reduction: str) -> Tensor:
        return self._accelerator.reduce(values, reduction) if self._accelerator.num_processes > 1 else values

    def arrays(self) -> dict[str, np.ndarray]:
        """Return copies of what was flushed: step (R,), loss (R, T), gradient_norm (R,), learning_rate (R,)."""
        return {name: array[: self._count].copy() for name, array in self._arrays.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Begin with records made before."""
        self._count = len(arrays["step"])
        for name, array in arrays.items():
            self._arrays[name][: self._count] = array


def first_bad(losses: list[float]) -> int | None:
    """Return the index of the first loss that is NaN or infinite."""
    return next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
