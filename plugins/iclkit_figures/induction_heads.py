"""The figure `induction-heads`: prefix matching and copying of attention heads over training."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from iclkit_figures import style
from iclkit_figures.panels import Panel, Panels, average, axes_of, cells, label_outer, size
from iclkit_figures.step_axis import step_axis

_OWN = "step", "layer", "head"


def draw(data: xr.Dataset) -> Figure | None:
    """Draw every head's scores over steps; None if no cell is measured."""
    with style.style():
        panels = cells(data, "prefix_matching", ("prefix_matching_chance", "copying", "copying_chance"), _OWN)
        return None if panels is None else _figure(panels)


def _figure(panels: Panels) -> Figure:
    both = len(panels.panels) == 1 and "copying" in panels.panels[0].data
    if both:
        made = style.figure(style.TEXT_WIDTH, 2.5)
        axes = list(made.subplots(1, 2))
        shown = [(panels.panels[0], "prefix_matching"), (panels.panels[0], "copying")]
        for axis, name in zip(axes, ("prefix matching", "copying"), strict=True):
            axis.set_ylabel(name)
            axis.set_xlabel("training step")
    else:
        width, height = size(panels)
        made = style.figure(width, height + 0.3)
        axes = axes_of(made, panels)
        shown = [(panel, "prefix_matching") for panel in panels.panels]
        label_outer(axes, panels.columns, "training step", "prefix matching")
    layers = sorted({str(name) for panel in panels.panels for name in panel.data["layer"].values}, key=_depth)
    colours = dict(zip(layers, style.position_colours()(np.linspace(0, 0.85, max(len(layers), 2))), strict=False))
    for axis, (panel, name) in zip(axes, shown, strict=True):
        _panel(axis, panel, name, colours)
    known = {
        str(name) for panel, score in shown for name in panel.data[score].dropna("layer", how="all")["layer"].values
    }
    drawn = [layer for layer in layers if layer in known]
    handles = [Line2D([], [], color=colours[layer], linewidth=1.8) for layer in drawn]
    handles.append(Line2D([], [], color=style.GREY, linestyle=(0, (3.5, 1.6))))
    made.legend(handles, [*(layer.replace("_", " ") for layer in drawn), "chance"], loc="outside right center")
    several = any(panel.data.sizes["seed"] > 1 for panel in panels.panels)
    best = "thick: best head of a layer" + (", mean over seeds" if several else "")
    style.annotate(made, None, [f"thin: each head; {best}", *panels.notes])
    return made


def _panel(axes: Axes, panel: Panel, name: str, colours: dict[str, np.ndarray]) -> None:
    steps = panel.data["step"].values.astype(float)
    values = panel.data[name].transpose("seed", "layer", "head", "step")
    for layer in values["layer"].values:
        each = values.sel(layer=layer).values  # (seed, head, step)
        kept = np.isfinite(each).any((0, 1))
        if not kept.any():
            continue
        colour = colours[str(layer)]
        for line in each[:, :, kept].reshape(-1, int(kept.sum())):
            axes.plot(steps[kept], line, color=colour, linewidth=0.5, alpha=0.6)
        best = average(np.where(np.isfinite(each), each, -np.inf).max(1), 0)
        axes.plot(steps[kept], best[kept], color=colour, linewidth=1.8)
    chance = float(np.ravel(panel.data[f"{name}_chance"].values)[0])
    axes.axhline(chance, color=style.GREY, linestyle=(0, (3.5, 1.6)), linewidth=0.9)
    axes.set_ylim(0, min(1.02, max(1.1 * float(values.max()), 4 * chance)))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.5)
    step_axis(axes, float(steps[-1]))


def _depth(layer: str) -> tuple[int, str]:
    return len(layer), layer
