"""The figure `reference-distance`: how far predictions are from the references', over a swept number."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iclkit_figures import style
from iclkit_figures.log_axis import log_axis
from iclkit_figures.panels import (
    Panel,
    Panels,
    axes_of,
    cells,
    known_split,
    label_outer,
    mean_and_error,
    seeds_note,
    size,
)
from iclkit_figures.swept import swept_axis, value_labels

_NAME = "squared_error_distance"
_LINES = {
    "mixture": ("from the mixture of the K topics", "#009e73", "s"),
    "population": ("from the population's", "#d55e00", "o"),
}


def draw(data: xr.Dataset) -> Figure | None:
    """Draw it for the topics split, against the sweep's numeric axis with the most values; None without two values."""
    own = "step", "reference", "split", "position"
    axis, split = swept_axis(data, _NAME, own, 2), known_split(data, _NAME)
    if axis is None or split is None:
        return None
    values = data[[_NAME]].sel(split=split, drop=True).mean("position")
    steps = values["step"].where(values[_NAME].notnull().any("reference"), -1).argmax("step").compute()
    with style.style():
        panels = cells(values.isel(step=steps, drop=True).sortby(axis), _NAME, (), ("reference", axis))
        return None if panels is None else _figure(panels, axis, split)


def _figure(panels: Panels, axis: str, split: str) -> Figure:
    width, height = size(panels)
    made = style.figure(width, height + 0.3)
    axes = axes_of(made, panels)
    told: dict[str, Any] = {}
    for place, panel in zip(axes, panels.panels, strict=True):
        told |= _panel(place, panel, axis)
    label_outer(axes, panels.columns, axis.replace("_", " "), "squared distance of predictions")
    made.legend(list(told.values()), list(told), loc="outside upper center", ncols=2)
    note = seeds_note(panels).replace("band", "bars")
    style.annotate(made, None, [f"split {split}, after training, mean over positions", note, *panels.notes])
    return made


def _panel(axes: Axes, panel: Panel, axis: str) -> dict[str, Any]:
    """Draw one panel and return its lines by what they are."""
    values = panel.data[axis].values.astype(float)
    places, told = np.arange(len(values)), {}
    for name, (label, colour, marker) in _LINES.items():
        if name not in panel.data["reference"].values:
            continue
        mean, error = mean_and_error(Panel(title="", data=panel.data.sel(reference=name)), _NAME, (axis,))
        if np.isfinite(mean).any():
            told[label] = axes.errorbar(
                places, mean, error, color=colour, marker=marker, markersize=2.5, elinewidth=0.7
            )
    log_axis(axes)
    axes.set_xticks(places, value_labels(values))
    return told
