"""The figure `option-accuracy`: few-shot accuracy on tasks trained on and on unseen ones, against demonstrations."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iclkit_figures import style
from iclkit_figures.panels import Panel, Panels, at_last, average, axes_of, cells, label_outer, mean_and_error, size

_OWN = "step", "tasks", "shots"
_LINES = {"known": ("tasks trained on", "#0072b2"), "unseen": ("unseen tasks", "#d55e00")}


def draw(data: xr.Dataset) -> Figure | None:
    """Draw accuracy after training against demonstrations, a panel for each cell; None if none is measured."""
    with style.style():
        others = ("option_accuracy_low", "option_accuracy_high", "option_chance")
        panels = cells(data, "option_accuracy", others, _OWN)
        return None if panels is None else _figure(panels)


def _figure(panels: Panels) -> Figure:
    width, height = size(panels)
    made = style.figure(width, height + 0.3)
    axes = axes_of(made, panels)
    told: dict[str, Any] = {}
    for axis, panel in zip(axes, panels.panels, strict=True):
        told |= _panel(axis, at_last(panel, "option_accuracy"))
        axis.set_ylim(0, 1.02)
    label_outer(axes, panels.columns, "demonstrations (shots)", "accuracy")
    made.legend(list(told.values()), list(told), loc="outside upper center", ncols=3)
    seeds = max(panel.data.sizes["seed"] for panel in panels.panels)
    band = "95 % interval over questions (Wilson)" if seeds == 1 else f"mean over {seeds} seeds, ±1 standard error"
    style.annotate(made, None, [f"after training; bars: {band}", *panels.notes])
    return made


def _panel(axes: Axes, panel: Panel) -> dict[str, Any]:
    """Draw one panel at its last step and return its lines by what they are."""
    shots = panel.data["shots"].values
    place = np.arange(len(shots))
    told: dict[str, Any] = {}
    for name, (label, colour) in _LINES.items():
        one = Panel(title="", data=panel.data.sel(tasks=name).isel(step=0))
        mean, error = mean_and_error(one, "option_accuracy", ("shots",))
        if not np.isfinite(mean).any():
            continue
        around: Any = error
        if one.data.sizes["seed"] == 1 and "option_accuracy_low" in one.data:
            ends = (one.data[f"option_accuracy_{end}"].isel(seed=0).values for end in ("low", "high"))
            around = np.abs(np.stack(list(ends)) - mean)
        told[label] = axes.errorbar(place, mean, around, color=colour, marker="o", markersize=2.5, elinewidth=0.7)
    if "option_chance" in panel.data:
        chance = average(
            panel.data["option_chance"].transpose("tasks", "seed", "shots").values.reshape(-1, len(shots)), 0
        )
        (told["a guess"],) = axes.plot(place, chance, color=style.GREY, linestyle=(0, (1, 1.2)), linewidth=1)
    axes.set_xticks(place, [str(n) for n in shots])
    return told
