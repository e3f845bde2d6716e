"""The figure `losses`: the four losses above the oracle over training, whose gaps are those of generalisation."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iclkit_figures import style
from iclkit_figures.oracle_losses import LINES, OTHERS, OWN, least_possible, scale_losses
from iclkit_figures.panels import Panel, Panels, axes_of, cells, label_outer, mean_and_error, seeds_note, size
from iclkit_figures.step_axis import step_axis


def draw(data: xr.Dataset) -> Figure | None:
    """Draw the losses over steps, averaged over positions l >= 2; None if no cell is measured."""
    with style.style():
        chosen = data.sel(first_position=2, drop=True)
        panels = cells(chosen, "log_ratio", OTHERS, OWN)
        return None if panels is None else _figure(panels)


def _figure(panels: Panels) -> Figure:
    width, height = size(panels)
    made = style.figure(width, height + 0.5)
    axes = axes_of(made, panels)
    told: dict[str, Any] = {}
    for axis, panel in zip(axes, panels.panels, strict=True):
        told |= _panel(axis, panel)
    label_outer(axes, panels.columns, "training step", "loss above the oracle\n(nat per token)")
    made.legend(list(told.values()), list(told), loc="outside upper center", ncols=2)
    style.annotate(made, None, ["mean over positions from 2 on", seeds_note(panels), *panels.notes])
    return made


def _panel(axes: Axes, panel: Panel) -> dict[str, Any]:
    """Draw one panel and return its lines by what they are."""
    step, told, least = panel.data["step"].values.astype(float), {}, []
    for name, split, label, colour in LINES:
        if split not in panel.data["split"].values or name not in panel.data:
            continue
        one = Panel(title="", data=panel.data.sel(split=split))
        mean, error = mean_and_error(one, name, ("step",))
        kept = np.isfinite(mean)
        if not kept.any():
            continue
        (told[label],) = axes.plot(step[kept], mean[kept], color=colour, marker="o", markersize=1.8)
        axes.fill_between(step[kept], (mean - error)[kept], (mean + error)[kept], color=colour, alpha=0.18, linewidth=0)
        least.append(mean[kept].min())
    best = least_possible(panel)
    if best is not None:
        told["least possible (topics)"] = axes.axhline(best, color=style.INK, linestyle=(0, (3.5, 1.6)), linewidth=1)
    scale_losses(axes, [*least, *([] if best is None else [best])])
    step_axis(axes, float(step[-1]))
    return told
