"""The second paper's losses above the oracle: what they are called, their colours, and the least one possible."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from iclkit_figures.log_axis import log_axis, plain
from iclkit_figures.panels import Panel, average, optimum

LINES = (  # variable, split, what it is, colour
    ("log_ratio", "train", "empirical (train)", "#e69f00"),
    ("oracle_kl", "train", "train, next token averaged", "#d55e00"),
    ("oracle_kl", "sequences", "first level (sequences)", "#009e73"),
    ("oracle_kl", "topics", "population (topics)", "#0072b2"),
)
OWN = "step", "split", "first_position", "position", "reference"
OTHERS = "log_ratio_se", "oracle_kl", "oracle_kl_se", "floor", "excess_reference"


def least_possible(panel: Panel) -> float | None:
    """Return the population optimum above the oracle, I(W; X_1 .. X_T) / T, on the same sequences; None if unknown."""
    data = panel.data
    if "floor" not in data or "topics" not in data["split"].values:
        return None
    best = optimum(Panel(title="", data=data.sel(split="topics")), "topics")
    if best not in data["reference"].values:
        return None
    floor = data["floor"].sel(split="topics", position=slice(2, None))
    above = floor.sel(reference=best) - floor.sel(reference="oracle")
    return float(average(np.ravel(above.values), 0))


def scale_losses(axes: Axes, least: list[float]) -> None:
    """Scale the y axis logarithmically, with room around zero where a loss is not positive."""
    if all(value > 0 for value in least):
        log_axis(axes)
    else:
        positive = [value for value in least if value > 0]
        axes.set_yscale("symlog", linthresh=max(min(positive, default=1e-2), 1e-3))
        axes.yaxis.set_major_formatter(FuncFormatter(plain))
