"""The figure `emergence`: the training loss over steps, its sudden changes and the predictors its plateaus are near."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from iclkit_figures import style
from iclkit_figures.panels import Panel, Panels, axes_of, cells, label_outer, share_y, size
from iclkit_figures.step_axis import step_axis

_OWN = "positions", "moment", "change", "plateau", "predictor"
_SHOWN = 6  # groups of positions


def draw(data: xr.Dataset) -> Figure | None:
    """Draw the recorded curves, the first seed's; None if no cell has any."""
    with style.style():
        others = ("record_step", "change_step", "change_low", "change_high", "plateau_predictor", "predictor_loss")
        panels = cells(data, "record_curve", others, _OWN)
        return None if panels is None else _figure(panels)


def _figure(panels: Panels) -> Figure:
    width, height = size(panels)
    made = style.figure(width, height + 0.2)
    axes = axes_of(made, panels)
    groups = _groups(panels.panels[0])
    colours = dict(zip(groups, style.position_colours()(np.linspace(0, 1, max(len(groups), 2))), strict=False))
    for axis, panel in zip(axes, panels.panels, strict=True):
        _panel(axis, panel, colours)
    share_y(axes, panels.columns)
    record = panels.panels[0].data["record_curve"].attrs.get("record", "loss")
    label = "training loss (nat per token)" if record == "loss" else record.replace("_", " ")
    label_outer(axes, panels.columns, "training step", label)
    handles = [Line2D([], [], color=style.INK, linewidth=1.6)]
    handles += [Line2D([], [], color=colour, linewidth=0.9) for colour in colours.values()]
    names = ["all", *(name.replace("-", "\N{EN DASH}") for name in groups)]
    made.legend(handles, names, title="position", loc="outside right center")
    several = any(panel.data.sizes["seed"] > 1 for panel in panels.panels)
    style.annotate(
        made,
        None,
        [
            "grey: sudden changes of the mean over all positions, with 95 % intervals",
            "dashes: loss of the predictor that a plateau is nearest to" if record == "loss" else "",
            "first seed" if several else "",
            *panels.notes,
        ],
    )
    return made


def _groups(panel: Panel) -> list[str]:
    """Return some groups of positions, evenly chosen."""
    names = [str(name) for name in panel.data["positions"].values if name != "all"]
    names.sort(key=lambda name: int(name.partition("-")[0]))
    picked = np.unique(np.linspace(0, len(names) - 1, min(_SHOWN, len(names))).round().astype(int))
    return [names[place] for place in picked]


def _panel(axes: Axes, panel: Panel, colours: dict[str, np.ndarray]) -> None:
    data = panel.data.isel(seed=0)
    last = float(data["record_step"].max())
    for name in [*colours, "all"]:
        curve = data.sel(positions=name)
        mean = name == "all"
        axes.plot(
            curve["record_step"].values,
            curve["record_curve"].values,
            color=style.INK if mean else colours[name],
            linewidth=1.6 if mean else 0.9,
            zorder=4 if mean else 3,
        )
    step_axis(axes, last)
    whole = data.sel(positions="all")
    for place in np.flatnonzero(np.isfinite(whole["change_step"].values)):
        low, high, middle = (float(whole[f"change_{end}"][place]) for end in ("low", "high", "step"))
        axes.axvspan(low, high, color="#dddddd", linewidth=0, zorder=0)
        axes.axvline(middle, color=style.GREY, linewidth=0.6, zorder=1)
    if "predictor_loss" not in whole:
        return
    _levels(axes, whole)


def _levels(axes: Axes, whole: xr.Dataset) -> None:
    """Draw the losses that plateaus are near, each named at the end that is further from the curve."""
    steps, curve = (whole[name].dropna("moment").values for name in ("record_step", "record_curve"))
    early = steps <= np.expm1(0.3 * np.log1p(steps[-1]))
    late = steps >= np.expm1(0.7 * np.log1p(steps[-1]))
    near = [str(name) for name in whole["plateau_predictor"].values if isinstance(name, str) and name]
    spread = np.ptp(axes.get_ylim())
    taken: list[tuple[float, bool]] = []
    for name in dict.fromkeys(near):
        level = float(whole["predictor_loss"].sel(predictor=name))
        axes.axhline(level, color=style.GREY, linewidth=0.7, linestyle=(0, (3.5, 1.6)), zorder=2)
        left = np.abs(curve[early] - level).min() > np.abs(curve[late] - level).min()
        if any(side == left and abs(level - other) < 0.06 * spread for other, side in taken):
            continue  # names must not run into each other
        axes.annotate(
            name,
            (0 if left else 1, level),
            (2 if left else -2, 1.5),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="left" if left else "right",
            va="bottom",
            fontsize=6,
            color=style.GREY,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.4},
            zorder=5,
        )
        taken.append((level, bool(left)))
