"""What happens at which step: the learning rate, snapshots, records. Functions of the step, and of losses."""

import math
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["constant", "linear", "cosine", "plateau"]


def learning_rate(step: int, *, steps: int, peak: float, schedule: Schedule, warmup: int) -> float:
    """Return the learning rate of the update that follows `step` updates, 0 <= step < steps.

    It rises linearly to `peak` over the first `warmup` updates, then stays, or falls so that it would be 0 at
    step = steps. On a plateau it stays here, see `Plateau`.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    match schedule:
        case "constant" | "plateau":
            return peak
        case "linear":
            return peak * (1 - progress)
        case "cosine":
            return peak * (1 + math.cos(math.pi * progress)) / 2


class Plateau:
    """Lowers the learning rate where the loss no longer falls: a function of the losses of all steps, in order.

    After warm-up, the mean loss of every `window` steps is compared with the best mean before; where it is not lower
    by more than `tolerance` nats, the learning rate is multiplied by `factor` from the next step on.
    """

    def __init__(self, *, window: int, factor: float, tolerance: float, warmup: int):
        self.window, self.factor, self.tolerance, self.warmup = window, factor, tolerance, warmup
        self.scale = 1.0
        self._seen, self._sum, self._best = 0, 0.0, math.inf

    def due(self, step: int) -> bool:
        """Tell whether a window ends before the update of this step, so that all losses before it are needed now."""
        return step > self.warmup and (step - self.warmup) % self.window == 0

    def observe(self, loss: float) -> None:
        """Take in the loss of the next step, nats."""
        self._seen += 1
        if self._seen <= self.warmup:
            return
        self._sum += loss
        if self.due(self._seen):
            mean, self._sum = self._sum / self.window, 0.0
            if not mean < self._best - self.tolerance:
                self.scale *= self.factor
            self._best = min(self._best, mean)

    def state(self) -> Tensor:
        """Return all it knows, float64 (4,)."""
        return torch.tensor([self._seen, self._sum, self._best, self.scale], dtype=torch.float64)

    def load(self, state: Tensor) -> None:
        """Continue from a state."""
        seen, self._sum, self._best, self.scale = state.tolist()
        self._seen = int(seen)


def snapshot_steps(wanted: int | tuple[int, ...], steps: int) -> tuple[int, ...]:
    """Return the steps at which to take snapshots, in order, the last one included.

    A tuple is taken as it is, up to `steps`. A number chooses, among the grids 0, round(2^(i/m)), steps with m a
    power of two, the one whose size is closest to it (the smaller of two), or 0 and steps for two and fewer. A finer
    grid holds every coarser one, so trainings of different length share their steps.
    """
    if isinstance(wanted, tuple):
        return tuple(sorted({*(step for step in wanted if step < steps), steps}))
    best: tuple[int, ...] = tuple(sorted({0, steps}))
    m = 2.0**-4
    while len(best) < min(wanted, steps + 1):
        finer = _geometric(m, steps)
        if abs(len(finer) - wanted) >= abs(len(best) - wanted) and len(finer) > wanted:
            break
        best, m = finer, 2 * m
    return best


def _geometric(m: float, steps: int) -> tuple[int, ...]:
    """Return 0, round(2^(i/m)) up to steps, and steps."""
    powers = range(math.floor(m * math.log2(max(steps, 1))) + 2)  # one more than needed, should log2 round down
    grid = {round(2 ** (i / m)) for i in powers}
    return tuple(sorted({0, steps} | {step for step in grid if step <= steps}))


def is_recorded(step: int, resolution: int) -> bool:
    """Tell whether the loss is recorded at a step: always below 2 resolution, at every 2nd up to 4 resolution, ...

    From there on there are `resolution` records in every doubling of the step, whatever the number of steps.
    """
    spacing = 1 << max(0, (step // resolution).bit_length() - 1)
    return step % spacing == 0
