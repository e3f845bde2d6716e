"""The figure `topic-cost`: what each topic costs over the whole context, beside the logarithm of its weight."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iclkit_figures import style
from iclkit_figures.panels import (
    Panel,
    Panels,
    at_last,
    average,
    axes_of,
    cells,
    known_split,
    label_outer,
    mean_and_error,
    seeds_note,
    share_y,
    size,
)

_OWN = "step", "split", "topic"
_MODEL, _OPTIMUM = "#0072b2", "#b8b8b8"


def draw(data: xr.Dataset) -> Figure | None:
    """Draw the cost of each topic for the last snapshot and for the optimum; None if no cell is measured."""
    split = known_split(data, "topic_cost")
    if split is None:
        return None
    with style.style():
        others = ("topic_cost_se", "topic_cost_optimum", "topic_cost_optimum_se", "topic_cost_limit")
        panels = cells(data.sel(split=split, drop=True), "topic_cost", others, _OWN)
        return None if panels is None else _figure(panels, split)


def _figure(panels: Panels, split: str) -> Figure:
    width, height = size(panels)
    made = style.figure(width, height + 0.2)
    axes = axes_of(made, panels)
    told: dict[str, Any] = {}
    for axis, panel in zip(axes, panels.panels, strict=True):
        told |= _panel(axis, at_last(panel, "topic_cost"))
    share_y(axes, panels.columns)
    label_outer(axes, panels.columns, "topic", "loss above the oracle,\nwhole context (nat)")
    made.legend(list(told.values()), list(told), loc="outside upper center", ncols=3)
    note = seeds_note(panels).replace("band", "bars")
    style.annotate(made, None, [f"split {split}, last snapshot", note, *panels.notes])
    return made


def _panel(axes: Axes, panel: Panel) -> dict[str, Any]:
    """Draw one panel and return its marks by what they are."""
    one = Panel(title="", data=panel.data.isel(step=0))
    mean, error = mean_and_error(one, "topic_cost", ("topic",))
    place = np.flatnonzero(np.isfinite(mean))
    told: dict[str, Any] = {}
    line = {"elinewidth": 0.7}
    told["model"] = axes.bar(place - 0.2, mean[place], 0.38, yerr=error[place], color=_MODEL, error_kw=line)
    if "topic_cost_optimum" in one.data:
        best, spread = mean_and_error(one, "topic_cost_optimum", ("topic",))
        told["exact optimum"] = axes.bar(
            place + 0.2, best[place], 0.38, yerr=spread[place], color=_OPTIMUM, error_kw=line
        )
    limit = average(one.data["topic_cost_limit"].transpose("seed", "topic").values, 0)
    told["$-\\ln w$"] = axes.hlines(limit[place], place - 0.45, place + 0.45, color=style.INK, linewidth=1.2)
    some = place[:: -(-len(place) // 10)]
    axes.set_xticks(some, [f"{label:g}" for label in one.data["topic"].values[some]])
    axes.tick_params(axis="x", length=0)
    return told
