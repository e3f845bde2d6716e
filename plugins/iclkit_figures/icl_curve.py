"""The figure `icl-curve`: loss in context against position, snapshot by snapshot, over the optimum if one is known."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from iclkit_figures import labels, style
from iclkit_figures.panels import (
    Panel,
    Panels,
    average,
    axes_of,
    choose,
    label_outer,
    mean_and_error,
    optimum,
    seeds_note,
    share_y,
    size,
)
from iclkit_figures.step_colours import step_bar, step_scale


def draw(data: xr.Dataset) -> Figure | None:
    """Draw the loss against position for every snapshot; None if no cell is measured."""
    with style.style():
        panels = choose(data, "loss", ("loss_se", "floor", "excess_reference", "excess"), split_by="excess")
        return None if panels is None else _figure(panels, str(data.attrs.get("title", "")))


def _figure(panels: Panels, title: str) -> Figure:
    made = style.figure(*size(panels))
    axes = axes_of(made, panels)
    colours = step_scale(panels)
    references = [_panel(axis, panel, panels.split, colours) for axis, panel in zip(axes, panels.panels, strict=True)]
    share_y(axes, panels.columns)
    label_outer(axes, panels.columns, "position in the context", "loss (nat per token)")
    step_bar(made, axes, colours, panels)
    style.annotate(
        made, title, [f"split {panels.split}, all lines on the same sequences", seeds_note(panels), *panels.notes]
    )
    if len(axes) == 1:
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(low - 0.08 * (high - low), high)  # room for a label under the lowest line
        labels.beside(made, axes[0], references[0])
    else:
        _legend(made, references)
    return made


def _panel(axes: Axes, panel: Panel, split: str, colours: ScalarMappable) -> list[Line2D]:
    """Draw one panel and return the lines of its references."""
    position, step = panel.data["position"].values, panel.data["step"].values.astype(float)
    mean, error = mean_and_error(panel, "loss")
    marker = "o" if len(position) == 1 else None
    measured = [place for place in range(len(mean)) if np.isfinite(mean[place]).any()]
    for place in measured:
        final = place == measured[-1]
        axes.plot(
            position,
            mean[place],
            color=colours.cmap(colours.norm(step[place])),
            linewidth=1.8 if final else 0.8,
            alpha=1.0 if final else 0.85,
            marker=marker,
            solid_capstyle="round",
            zorder=3 if final else 2,
        )
    colour = colours.cmap(colours.norm(step[measured[-1]]))
    low, high = (mean[measured[-1]] + sign * error[measured[-1]] for sign in (-1, 1))
    axes.fill_between(position, low, high, color=colour, alpha=0.25, linewidth=0, zorder=1)
    _positions(axes, position)
    return _references(axes, panel, split, marker)


def _references(axes: Axes, panel: Panel, split: str, marker: str | None) -> list[Line2D]:
    if "floor" not in panel.data:  # of real text nothing exact is known
        return []
    floor = panel.data["floor"].transpose("seed", "reference", "position")
    names = floor["reference"].values.tolist()
    best = optimum(panel, split)
    looks = (
        (best, f"exact optimum ({best})", style.INK, (0, (3.5, 1.6)), 1.0),
        ("oracle", "oracle (topic known)", style.GREY, (0, (1, 1.2)), 1.0),
    )
    lines = []
    for name, label, colour, dashes, width in looks:
        values = average(floor.sel(reference=name).values, 0) if name in names else np.array(np.nan)
        if np.isfinite(values).any():
            lines += axes.plot(
                panel.data["position"].values,
                values,
                color=colour,
                linestyle=dashes,
                linewidth=width,
                marker="_" if marker else None,
                markersize=9,
                label=label,
                zorder=4,
            )
    return lines


def _positions(axes: Axes, position: np.ndarray) -> None:
    """Scale the x axis: linear for few positions, logarithmic with plain powers of two for many."""
    last = int(position[-1])
    if len(position) < 32:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        axes.set_xlim(position[0] - 0.03 * len(position), last + 0.03 * len(position))
        return
    axes.set_xscale("log", base=2)
    powers = np.arange(int(np.log2(position[0])), int(np.log2(last)) + 1)
    ticks = 2 ** powers[:: -(-len(powers) // 8)]
    axes.xaxis.set_major_locator(FixedLocator(ticks.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlim(position[0] * 0.95, last * 1.06)


def _legend(made: Figure, references: Sequence[Sequence[Line2D]]) -> None:
    named = {str(line.get_label()): line for lines in references for line in lines}
    if named:
        made.legend(list(named.values()), list(named), loc="outside upper right", ncols=len(named))
