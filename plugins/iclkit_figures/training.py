"""The figure `training`: excess over the exact optimum against tokens seen, by groups of positions."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from iclkit_figures import style
from iclkit_figures.log_axis import log_axis
from iclkit_figures.panels import (
    Panel,
    Panels,
    average,
    axes_of,
    choose,
    label_outer,
    mean_and_error,
    seeds_note,
    share_y,
    size,
)

_DECADES = 5  # of excess; what is smaller is as good as nothing


def draw(data: xr.Dataset) -> Figure | None:
    """Draw the excess against tokens seen for groups of positions; None if no cell is measured."""
    with style.style():
        panels = choose(data, "excess", ("excess_se", "excess_reference", "excess_kind"))
        return None if panels is None else _figure(panels)


def _figure(panels: Panels) -> Figure:
    width, height = size(panels)
    made = style.figure(width, height)
    axes = axes_of(made, panels)
    curves = [_grouped(panel) for panel in panels.panels]
    low, high = _range([mean for groups in curves for mean, _ in groups.values()])
    names = list(dict.fromkeys(name for groups in curves for name in groups))
    colours = dict(zip(names, style.position_colours()(np.linspace(0, 1, len(names))), strict=True))
    below = False
    for axis, panel, groups in zip(axes, panels.panels, curves, strict=True):
        seen = _tokens(axis, panel)
        axis.set_ylim(low, high)
        log_axis(axis)
        for name, (mean, error) in groups.items():
            below |= _line(axis, seen, mean, error, colours[name])
    share_y(axes, panels.columns)
    unit = "tokens seen" if "tokens_seen" in panels.panels[0].data.coords else "training step"
    label_outer(axes, panels.columns, unit, "excess (nat per token)")
    made.legend(
        [Line2D([], [], color=colours[name], linewidth=1.4) for name in names],
        names,
        title="position",
        loc="outside right center",
    )
    reference, kind = _told(panels, "excess_reference"), _told(panels, "excess_kind")
    under = f"triangles: at or below {low:.0e}".replace("e-0", "e-") if below else ""
    style.annotate(
        made,
        f"Excess over the {reference} optimum" if reference else "Excess over the exact optimum",
        [
            f"split {panels.split}, {kind}" if kind else f"split {panels.split}",
            seeds_note(panels),
            under,
            *panels.notes,
        ],
    )
    return made


def _grouped(panel: Panel) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return mean excess and its error over steps, for positions 1, 2-3, 4-7, ...

    The error over sequences of a group is at most the mean of its positions' errors, whatever their correlation.
    """
    position = panel.data["position"].values
    group = np.floor(np.log2(position)).astype(int)
    made = {}
    for power in np.unique(group):
        mine = np.flatnonzero(group == power)
        first, last = position[mine[0]], position[mine[-1]]
        part = panel.data.isel(position=mine)
        together = part[[name for name in ("excess", "excess_se") if name in part]].mean("position", keepdims=True)
        mean, error = mean_and_error(Panel(title="", data=together), "excess")
        made[str(first) if first == last else f"{first}\N{EN DASH}{last}"] = mean[:, 0], error[:, 0]
    return made


def _range(values: list[np.ndarray]) -> tuple[float, float]:
    """Return the limits of a logarithmic axis that holds the positive values, at most so many decades."""
    every = np.concatenate(values)
    positive = every[np.isfinite(every) & (every > 0)]
    if not len(positive):
        return 1e-6, 1.0
    high = float(positive.max()) * 1.6
    decades = min(np.ceil(np.log10(high)) - np.floor(np.log10(positive.min())), _DECADES)
    return float(10 ** (np.ceil(np.log10(high)) - decades)), high


def _tokens(axes: Axes, panel: Panel) -> np.ndarray:
    """Scale the x axis logarithmically, with a place for zero before a break, and return the x of every step."""
    step = panel.data["step"].values.astype(float)
    seen = step
    if "tokens_seen" in panel.data.coords:
        told = panel.data["tokens_seen"]
        seen = average(told.transpose("seed", "step").values, 0) if "seed" in told.dims else told.values
    positive = seen[np.isfinite(seen) & (seen > 0)]
    first, last = (positive.min(), positive.max()) if len(positive) else (1.0, 1.0)
    zero = first / max(4.0, (last / first) ** 0.12)
    axes.set_xscale("log")
    ends = zero if (seen == 0).any() else first
    axes.set_xlim(ends / 1.3, last * 1.3)
    decades = [10.0**power for power in range(int(np.ceil(np.log10(first))), int(np.log10(last)) + 1)]
    if len(decades) < 2:
        decades = sorted({float(first), float(last)})
    ticks = [float(zero), *decades] if (seen == 0).any() else decades
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: "0" if x <= zero * 1.001 else _power(x)))
    axes.xaxis.set_minor_locator(NullLocator())
    if (seen == 0).any():
        _break(axes, float(np.sqrt(zero * first)))
    return np.where(seen == 0, zero, seen)


def _power(x: float) -> str:
    exponent = np.log10(x)
    return rf"$10^{{{exponent:.0f}}}$" if abs(exponent - round(exponent)) < 1e-9 else f"{x:.3g}"


def _break(axes: Axes, x: float) -> None:
    """Mark a break of the x axis."""
    (mark,) = axes.plot(
        [x],
        [0],
        transform=axes.get_xaxis_transform(),
        marker=[(-0.6, -1), (0.6, 1)],
        markersize=6,
        color="#444444",
        linestyle="none",
        clip_on=False,
        zorder=5,
    )
    mark.set_in_layout(False)


def _line(axes: Axes, seen: np.ndarray, mean: np.ndarray, error: np.ndarray, colour: np.ndarray) -> bool:
    """Draw a group's line and band; return whether part of it lies under the axis."""
    low = axes.get_ylim()[0]
    kept = np.isfinite(mean) & np.isfinite(seen)
    seen, mean, error = seen[kept], mean[kept], error[kept]
    under = mean < low
    shown = np.where(under, low, mean)
    axes.plot(seen, shown, color=colour, marker="o", markersize=1.6, linewidth=1.1)
    if under.any():
        (marks,) = axes.plot(seen[under], shown[under], color=colour, marker="v", linestyle="none", clip_on=False)
        marks.set_in_layout(False)
    axes.fill_between(
        seen, np.maximum(mean - error, low), np.maximum(mean + error, low), color=colour, alpha=0.16, linewidth=0
    )
    return bool(under.any())


def _told(panels: Panels, name: str) -> str:
    """Return what the panels say of a split: once if they agree, else all of it."""
    every = [np.ravel(panel.data[name].values) for panel in panels.panels if name in panel.data]
    return " or ".join(dict.fromkeys(str(text) for texts in every for text in texts if text))
