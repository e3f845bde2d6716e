"""The figure `calibration`: how often the model is right, by how sure it is."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iclkit_figures import style
from iclkit_figures.panels import Panel, Panels, at_last, axes_of, cells, label_outer, mean_and_error, seeds_note, size

_OWN = "step", "split", "bin"
_COLOURS = {"train": "#d55e00", "sequences": "#009e73", "topics": "#0072b2"}
_LEAST = 1e-3  # share of predictions below which a bin is not shown


def draw(data: xr.Dataset) -> Figure | None:
    """Draw the reliability of the last snapshot on every split; None if no cell is measured."""
    others = ("calibration_accuracy_se", "calibration_confidence", "calibration_share", "calibration_error")
    with style.style():
        panels = cells(data, "calibration_accuracy", others, _OWN)
        return None if panels is None else _figure(panels)


def _figure(panels: Panels) -> Figure:
    width, height = size(panels)
    made = style.figure(width, height + 0.4)
    axes = axes_of(made, panels)
    told: dict[str, Any] = {}
    for axis, panel in zip(axes, panels.panels, strict=True):
        told |= _panel(axis, at_last(panel, "calibration_accuracy"))
    label_outer(axes, panels.columns, "confidence", "accuracy")
    made.legend(list(told.values()), list(told), loc="outside upper center", ncols=4)
    style.annotate(
        made,
        None,
        [
            "last snapshot; areas of the dots: share of predictions",
            seeds_note(panels).replace("band", "bars"),
            *panels.notes,
        ],
    )
    return made


def _panel(axes: Axes, panel: Panel) -> dict[str, Any]:
    """Draw one panel and return its marks by split."""
    (diagonal,) = axes.plot([0, 1], [0, 1], color=style.GREY, linestyle=(0, (3.5, 1.6)), linewidth=0.8)
    told: dict[str, Any] = {"calibrated": diagonal}
    lows = []
    for split in [str(name) for name in panel.data["split"].values]:
        one = Panel(title="", data=panel.data.sel(split=split).isel(step=0))
        accuracy, error = mean_and_error(one, "calibration_accuracy", ("bin",))
        confidence, _ = mean_and_error(one, "calibration_confidence", ("bin",))
        share, _ = mean_and_error(one, "calibration_share", ("bin",))
        kept = np.isfinite(accuracy) & (share > _LEAST)
        if not kept.any():
            continue
        colour = _COLOURS.get(split, style.INK)
        axes.errorbar(confidence[kept], accuracy[kept], error[kept], color=colour, linewidth=1.0, elinewidth=0.7)
        told[split] = axes.scatter(
            confidence[kept], accuracy[kept], s=4 + 40 * share[kept], color=colour, alpha=0.8, linewidth=0, zorder=3
        )
        lows += [confidence[kept].min(), accuracy[kept].min()]
    low = max(0.0, min(lows, default=0.0) - 0.05)
    axes.set_xlim(low, 1.02)
    axes.set_ylim(low, 1.02)
    return told
