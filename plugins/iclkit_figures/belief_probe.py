"""The figure `belief-probe`: how well beliefs can be read in each layer, and for three states what is read."""

import re
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from iclkit_figures import style
from iclkit_figures.panels import Panel, Panels, average, axes_of, cells, label_outer, size
from iclkit_figures.step_axis import step_axis

_OWN = "step", "layer", "target", "point", "state"
_DASHES: dict[str, Any] = {"belief": "solid", "topic": (0, (3.5, 1.6))}
_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])


def draw(data: xr.Dataset) -> Figure | None:
    """Draw R^2 over steps, and the simplex of beliefs where one cell with three states is drawn; None if none is."""
    with style.style():
        others = ("belief_r2_shuffled", "belief_projection", "belief")
        panels = cells(data, "belief_r2", others, _OWN)
        return None if panels is None else _figure(panels)


def _figure(panels: Panels) -> Figure:
    first = panels.panels[0].data
    simplex = len(panels.panels) == 1 and "belief" in first and first.sizes["state"] == 3
    if simplex:
        made = style.figure(style.TEXT_WIDTH, 2.7)
        grid = made.add_gridspec(1, 3, width_ratios=[1.25, 1, 1])
        axes = [made.add_subplot(grid[0])]
        _simplices([made.add_subplot(grid[1]), made.add_subplot(grid[2])], panels.panels[0])
    else:
        width, height = size(panels)
        made = style.figure(width, height + 0.4)
        axes = axes_of(made, panels)
    layers = sorted((str(name) for name in first["layer"].values), key=_depth)
    colours = dict(zip(layers, style.position_colours()(np.linspace(0, 1, max(len(layers), 2))), strict=False))
    for axis, panel in zip(axes, panels.panels, strict=True):
        _panel(axis, panel, colours)
    label_outer(axes, 1 if simplex else panels.columns, "training step", "$R^2$ on held-out sequences")
    handles = [Line2D([], [], color=colour) for colour in colours.values()]
    names = [layer.replace("_", " ") for layer in layers]
    targets = [str(name) for name in first["target"].values]
    if len(targets) > 1:
        handles += [Line2D([], [], color=style.INK, linestyle=_DASHES.get(name, "dotted")) for name in targets]
        names += targets
    handles.append(Line2D([], [], color="#b0b0b0", linestyle="dotted"))
    axes[0].figure.legend(handles, [*names, "shuffled"], loc="outside upper left", ncols=4 if not simplex else 6)
    seeds = max(panel.data.sizes["seed"] for panel in panels.panels)
    style.annotate(made, None, [f"mean over {seeds} seeds" if seeds > 1 else "", *panels.notes])
    return made


def _panel(axes: Axes, panel: Panel, colours: dict[str, np.ndarray]) -> None:
    steps = panel.data["step"].values.astype(float)
    for layer, colour in colours.items():
        for target in panel.data["target"].values:
            dashes = _DASHES.get(str(target), "dotted")
            for name, look in (
                ("belief_r2_shuffled", {"color": "#b0b0b0", "linestyle": "dotted"}),
                ("belief_r2", {"color": colour, "linestyle": dashes, "marker": "o", "markersize": 2}),
            ):
                values = average(panel.data[name].sel(layer=layer, target=target).transpose("seed", "step").values, 0)
                kept = np.isfinite(values)
                axes.plot(steps[kept], values[kept], **look)
    axes.set_ylim(max(-0.3, min(-0.03, axes.get_ylim()[0])), 1.02)
    step_axis(axes, float(steps[-1]))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.5)


def _simplices(axes: list[Axes], panel: Panel) -> None:
    """Draw exact beliefs and what the best layer of the last step reads there, each point in its belief's colour."""
    data = panel.data.isel(seed=0)
    last = data["belief_r2"].sel(target="belief").dropna("step", how="all").isel(step=-1)
    best = str(last["layer"].values[int(np.nanargmax(last.values))])
    exact = data["belief"].transpose("point", "state").values
    read = data["belief_projection"].sel(layer=best).transpose("point", "state").values
    colours = np.clip(exact, 0, 1) ** 0.8
    for axis, points, title in zip(
        axes, (exact, read), ("exact beliefs", f"read in {best.replace('_', ' ')}"), strict=True
    ):
        axis.plot(*_CORNERS[[0, 1, 2, 0]].T, color="#b0b0b0", linewidth=0.6)
        x, y = (points @ _CORNERS).T
        axis.scatter(x, y, s=3, c=colours, linewidths=0)
        axis.set_title(title)
        axis.set_aspect("equal")
        axis.set_xlim(-0.08, 1.08)
        axis.set_ylim(-0.1, 0.97)
        axis.set_axis_off()


def _depth(layer: str) -> tuple[int, int]:
    """Order layers: embedding, layer_1, layer_2, ..., final."""
    number = re.search(r"\d+", layer)
    return (1, int(number.group())) if number else (0 if layer == "embedding" else 2, 0)
