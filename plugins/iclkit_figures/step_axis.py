"""The x axis of training steps: logarithmic, with a place for step 0."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from iclkit_figures import style


def step_axis(axes: Axes, last: float) -> None:
    """Scale the x axis as ln(1 + step), from 0 to the last step."""
    axes.set_xscale("function", functions=(_forward, _backward))
    axes.set_xlim(0, max(last, 1.0))
    ticks = style.step_ticks(last)
    if len(ticks) > 2 and ticks[-1] < 4 * ticks[-2] and last > ticks[-2]:
        ticks = ticks[:-2] + ticks[-1:]  # the last step is told, a power close to it is not
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _forward(step: np.ndarray) -> np.ndarray:
    return np.log1p(np.maximum(step, -0.5))


def _backward(place: np.ndarray) -> np.ndarray:
    return np.expm1(place)
