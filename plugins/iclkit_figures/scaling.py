"""The figure `scaling`: the losses above the oracle after training, against a number that is swept."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from iclkit_figures import style
from iclkit_figures.oracle_losses import LINES, OTHERS, OWN, least_possible, scale_losses
from iclkit_figures.panels import Panel, Panels, axes_of, cells, label_outer, mean_and_error, seeds_note, size
from iclkit_figures.swept import swept_axis, value_labels

_FEWEST = 3  # values that make a curve


def draw(data: xr.Dataset) -> Figure | None:
    """Draw them against the sweep's numeric axis with the most values; None without one of three values or more."""
    axis = swept_axis(data, "log_ratio", OWN, _FEWEST)
    if axis is None:
        return None
    with style.style():
        chosen = _at_the_end(data.sel(first_position=2, drop=True)).sortby(axis)
        panels = cells(chosen, "log_ratio", OTHERS, (*OWN, axis))
        return None if panels is None else _figure(panels, axis)


def _at_the_end(data: xr.Dataset) -> xr.Dataset:
    """Return the losses at the last step of each cell; the exact floors know no step."""
    last = data["log_ratio"].notnull().any("split") * data["step"]
    chosen = data["step"].isel(step=last.argmax("step").compute())
    stepped = [name for name in ("log_ratio", *OTHERS) if name in data and "step" in data[name].dims]
    rest = [name for name in OTHERS if name in data and "step" not in data[name].dims]
    return data[rest].merge(data[stepped].sel(step=chosen).drop_vars("step"))


def _figure(panels: Panels, axis: str) -> Figure:
    width, height = size(panels)
    made = style.figure(width, height + 0.5)
    axes = axes_of(made, panels)
    told: dict[str, Any] = {}
    for place, panel in zip(axes, panels.panels, strict=True):
        told |= _panel(place, panel, axis)
    label_outer(axes, panels.columns, axis.replace("_", " "), "loss above the oracle\nafter training (nat per token)")
    made.legend(list(told.values()), list(told), loc="outside upper center", ncols=2)
    note = seeds_note(panels).replace("band", "bars")
    style.annotate(made, None, ["mean over positions from 2 on", note, *panels.notes])
    return made


def _panel(axes: Axes, panel: Panel, axis: str) -> dict[str, Any]:
    """Draw one panel and return its lines by what they are."""
    values = panel.data[axis].values.astype(float)
    places, all_drawn = _places(values), []
    told: dict[str, Any] = {}
    for name, split, label, colour in LINES:
        if split not in panel.data["split"].values or name not in panel.data:
            continue
        mean, error = mean_and_error(Panel(title="", data=panel.data.sel(split=split)), name, (axis,))
        kept = np.isfinite(mean)
        if kept.any():
            bars = axes.errorbar(
                places[kept], mean[kept], error[kept], color=colour, marker="o", markersize=2.5, elinewidth=0.7
            )
            told[label] = bars
            all_drawn.append(mean[kept].min())
    best = np.array([_least(panel, axis, index) for index in range(len(values))])
    if np.isfinite(best).any():
        (told["least possible (topics)"],) = axes.plot(
            places, best, color=style.INK, linestyle=(0, (3.5, 1.6)), linewidth=1
        )
        all_drawn.append(np.nanmin(best))
    if (values > 0).all():
        axes.set_xscale("log")
    scale_losses(axes, all_drawn)
    axes.set_xticks(places, value_labels(values))
    axes.xaxis.set_minor_locator(NullLocator())
    return told


def _least(panel: Panel, axis: str, index: int) -> float:
    """Return the least possible loss at one place of the axis; NaN where it is not known."""
    found = least_possible(Panel(title="", data=panel.data.isel({axis: index})))
    return np.nan if found is None else found


def _places(values: np.ndarray) -> np.ndarray:
    """Return where values stand on the axis: "fresh", which is infinite, a step beyond the largest number."""
    known = values[np.isfinite(values)]
    if len(known) == len(values):
        return values
    step = known[-1] / known[-2] if len(known) > 1 and known[-2] > 0 else 4.0
    return np.where(np.isinf(values), known[-1] * max(step, 2.0), values)
