"""The figure `accuracy`: few-shot accuracy against shots, snapshot by snapshot, beside readers that are not trained."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from iclkit_figures import style
from iclkit_figures.panels import Panel, Panels, average, axes_of, cells, label_outer, size
from iclkit_figures.step_colours import step_bar, step_scale

_OWN = "step", "shots", "reader"
_LOOKS = {
    "ceiling": ("ceiling: prompt process known", style.INK, (0, (3.5, 1.6))),
    "pretraining_optimal_leaky": ("mixture of known topics, leaky", "#555555", (0, (5, 1, 1, 1))),
    "context_bigram": ("bigram in context", style.GREY, (0, (1, 1.2))),
    "majority": ("majority label", "#b0b0b0", (0, (3.5, 1.6))),
    "uniform": ("1/V", "#b0b0b0", (0, (1, 1.2))),
}


def draw(data: xr.Dataset) -> Figure | None:
    """Draw accuracy against shots, a panel for each cell and example length; None if none is measured."""
    with style.style():
        others = ("icl_accuracy_low", "icl_accuracy_high", "reader_accuracy")
        panels = cells(data, "icl_accuracy", others, _OWN)
        return None if panels is None else _figure(panels)


def _figure(panels: Panels) -> Figure:
    width, height = size(panels)
    made = style.figure(width, height + 0.55)
    axes = axes_of(made, panels)
    colours = step_scale(panels)
    named: dict[str, Line2D] = {}
    for axis, panel in zip(axes, panels.panels, strict=True):
        named |= _panel(axis, panel, colours)
        axis.set_ylim(0, 1.02)
    label_outer(
        axes, panels.columns, "examples (shots)" if panels.columns > 2 else "examples in the prompt (shots)", "accuracy"
    )
    made.legend(list(named.values()), list(named), loc="outside upper left", ncols=2 if width < 5 else 3)
    step_bar(made, axes, colours, panels)
    seeds = max(panel.data.sizes["seed"] for panel in panels.panels)
    band = "band: 95 % interval over prompts (Wilson)" if seeds == 1 else f"mean over {seeds} seeds"
    style.annotate(made, None, [band, *panels.notes])
    return made


def _panel(axes: Axes, panel: Panel, colours: ScalarMappable) -> dict[str, Line2D]:
    """Draw one panel and return the lines of its readers by label."""
    shots, steps = panel.data["shots"].values, panel.data["step"].values.astype(float)
    place = np.arange(len(shots))
    values = average(panel.data["icl_accuracy"].transpose("seed", "step", "shots").values, 0)
    measured = np.flatnonzero(np.isfinite(values).any(1))
    for at in measured:
        final = at == measured[-1]
        colour = colours.cmap(colours.norm(steps[at]))
        axes.plot(
            place, values[at], color=colour, linewidth=1.8 if final else 0.8, marker="o", zorder=3 if final else 2
        )
    if panel.data.sizes["seed"] == 1 and "icl_accuracy_low" in panel.data:
        final_step = panel.data.isel(seed=0, step=measured[-1])
        low, high = final_step["icl_accuracy_low"].values, final_step["icl_accuracy_high"].values
        axes.fill_between(place, low, high, color=colours.cmap(1.0), alpha=0.2, linewidth=0)
    axes.set_xticks(place, [str(n) for n in shots])
    axes.set_xlim(-0.3, len(shots) - 0.7)
    if "reader_accuracy" not in panel.data:
        return {}
    readers, named = panel.data["reader_accuracy"].transpose("seed", "reader", "shots"), {}
    for name, (label, ink, dashes) in _LOOKS.items():
        told = average(readers.sel(reader=name).values, 0) if name in readers["reader"].values else np.array([np.nan])
        if np.isfinite(told).any():
            named[label] = axes.plot(place, told, color=ink, linestyle=dashes, linewidth=1.0, zorder=4)[0]
    return named
