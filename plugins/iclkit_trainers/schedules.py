"""What happens at which step: the learning rate, snapshots, records. Pure functions of the step."""

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]


def learning_rate(step: int, *, steps: int, peak: float, schedule: Schedule, warmup: int) -> float:
    """Return the learning rate of the update that follows `step` updates, 0 <= step < steps.

    It rises linearly to `peak` over the first `warmup` updates, then stays, or falls so that it would be 0 at
    step = steps.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    match schedule:
        case "constant":
            return peak
        case "linear":
            return peak * (1 - progress)
        case "cosine":
            return peak * (1 + math.cos(math.pi * progress)) / 2


def snapshot_steps(wanted: int | tuple[int, ...], steps: int) -> tuple[int, ...]:
    """Return the steps at which to take snapshots, in order, the last one included.

    A tuple is taken as it is. A number chooses, among the grids 0, round(2^(i/m)), steps with m a power of two,
    the one whose size is closest to it (the smaller of two), or 0 and steps for two and fewer. A finer grid holds
    every coarser one, so trainings of different length share their steps.
    """
    if isinstance(wanted, tuple):
        return tuple(sorted({*wanted, steps}))
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
