"""The figure `occurrence`: loss on a token by how often it has come, snapshot by snapshot."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from iclkit_figures import style
from iclkit_figures.panels import (
    Panel,
    Panels,
    average,
    axes_of,
    cells,
    known_split,
    label_outer,
    mean_and_error,
    optimum,
    seeds_note,
    share_y,
    size,
)
from iclkit_figures.step_colours import step_bar, step_scale

_OWN = "step", "split", "occurrence", "reference"


def draw(data: xr.Dataset) -> Figure | None:
    """Draw the loss against the number of the occurrence for every snapshot; None if no cell is measured."""
    split = known_split(data, "occurrence_loss")
    if split is None:
        return None
    with style.style():
        others = ("occurrence_loss_se", "occurrence_floor", "excess_reference")
        panels = cells(data.sel(split=split, drop=True), "occurrence_loss", others, _OWN)
        return None if panels is None else _figure(panels, split)


def _figure(panels: Panels, split: str) -> Figure:
    made = style.figure(*size(panels))
    axes = axes_of(made, panels)
    colours = step_scale(panels)
    found = [_panel(axis, panel, split, colours) for axis, panel in zip(axes, panels.panels, strict=True)]
    share_y(axes, panels.columns)
    label_outer(axes, panels.columns, "occurrence of the token", "loss (nat)")
    step_bar(made, axes, colours, panels)
    named = {str(line.get_label()): line for line in found if line is not None}
    if named:
        made.legend(list(named.values()), list(named), loc="outside upper right")
    style.annotate(made, None, [f"split {split}", seeds_note(panels), *panels.notes])
    return made


def _panel(axes: Axes, panel: Panel, split: str, colours: ScalarMappable) -> Line2D | None:
    """Draw one panel and return the line of the optimum."""
    number, step = panel.data["occurrence"].values, panel.data["step"].values.astype(float)
    mean, error = mean_and_error(panel, "occurrence_loss", ("step", "occurrence"))
    measured = [place for place in range(len(mean)) if np.isfinite(mean[place]).any()]
    for place in measured:
        final = place == measured[-1]
        colour = colours.cmap(colours.norm(step[place]))
        axes.plot(number, mean[place], color=colour, linewidth=1.6 if final else 0.8, marker="o", markersize=2)
        if final:
            axes.fill_between(
                number, (mean - error)[place], (mean + error)[place], color=colour, alpha=0.25, linewidth=0
            )
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    return _optimum(axes, panel, split)


def _optimum(axes: Axes, panel: Panel, split: str) -> Line2D | None:
    if "occurrence_floor" not in panel.data:
        return None
    floor = panel.data["occurrence_floor"].transpose("seed", "reference", "occurrence")
    best = optimum(panel, split)
    if best not in floor["reference"].values:
        return None
    values = average(floor.sel(reference=best).values, 0)
    label = f"exact optimum ({best})"
    (line,) = axes.plot(
        panel.data["occurrence"].values, values, color=style.INK, linestyle=(0, (3.5, 1.6)), label=label, zorder=4
    )
    return line
