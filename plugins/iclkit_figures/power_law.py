"""The figure `power-law`: the loss above the entropy rate against position, with its fit and the exact curve."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from iclkit_figures import style
from iclkit_figures.log_axis import log_axis
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
    size,
)

_OWN = "step", "split", "position", "fit_position", "end"
_MODEL = "#0072b2"
_FIT = "#d55e00"


def draw(data: xr.Dataset) -> Figure | None:
    """Draw the last snapshot's curve and fit; None if no cell is measured."""
    split = known_split(data, "power_law_curve")
    if split is None:
        return None
    others = ("curve_se", "floor", "optimum", "exponent", "coefficient", "optimum_exponent", "exponent_interval")
    with style.style():
        panels = cells(
            data.sel(split=split, drop=True), "power_law_curve", [f"power_law_{name}" for name in others], _OWN
        )
        return None if panels is None else _figure(panels, split, data["fit_position"].values)


def _figure(panels: Panels, split: str, fitted: np.ndarray) -> Figure:
    width, height = size(panels)
    made = style.figure(width, height + 0.4)
    axes = axes_of(made, panels)
    told: dict[str, Any] = {}
    notes = []
    for axis, panel in zip(axes, panels.panels, strict=True):
        last = at_last(panel, "power_law_curve")
        told |= _panel(axis, last, fitted)
        notes.append(_exponents(last))
    label_outer(axes, panels.columns, "position in the context", "loss above the\nentropy rate (nat)")
    made.legend(list(told.values()), list(told), loc="outside upper center", ncols=3)
    style.annotate(
        made,
        None,
        [f"split {split}, last snapshot", notes[0] if len(notes) == 1 else "", seeds_note(panels), *panels.notes],
    )
    return made


def _panel(axes: Axes, panel: Panel, fitted: np.ndarray) -> dict[str, Any]:
    """Draw one panel and return its lines by what they are."""
    position = panel.data["position"].values
    mean, error = (part[0] for part in mean_and_error(panel, "power_law_curve"))
    kept = mean > 0
    (curve,) = axes.plot(position[kept], mean[kept], color=_MODEL, linewidth=1.3, zorder=3)
    low = np.where(mean - error > 0, mean - error, mean)
    axes.fill_between(position[kept], low[kept], (mean + error)[kept], color=_MODEL, alpha=0.22, linewidth=0)
    told: dict[str, Any] = {"model": curve}
    best = _best(panel)
    if np.isfinite(best).any():
        (told["exact optimum"],) = axes.plot(
            position, np.where(best > 0, best, np.nan), color=style.INK, linestyle=(0, (3.5, 1.6)), linewidth=1.0
        )
    exponent, coefficient = (_one(panel, f"power_law_{name}") for name in ("exponent", "coefficient"))
    if np.isfinite(exponent):
        ends = np.array([fitted[0], fitted[-1]], dtype=float)
        (told["fit"],) = axes.plot(
            ends, coefficient * ends**-exponent, color=_FIT, linewidth=1.0, marker="|", markersize=6, zorder=4
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    shown = np.concatenate([mean[kept], best[np.isfinite(best) & (best > 0)]])
    axes.set_ylim(max(shown.min(), shown.max() * 1e-4) / 1.3, shown.max() * 1.3)
    log_axis(axes)
    return told


def _best(panel: Panel) -> np.ndarray:
    """Return the optimum's curve (T,): exact where it is known, else on the same tokens."""
    for name in ("power_law_optimum", "power_law_floor"):
        if name in panel.data and panel.data[name].notnull().any():
            return average(panel.data[name].transpose("seed", "position").values, 0)
    return np.full(panel.data.sizes["position"], np.nan)


def _exponents(panel: Panel) -> str:
    """Say the exponents of the fit and of the optimum's curve in the same fit."""
    exponent = _one(panel, "power_law_exponent")
    if not np.isfinite(exponent):
        return "no fit: too few positive values in the range"
    low, high = average(panel.data["power_law_exponent_interval"].transpose("seed", "step", "end").values, 0)[0]
    text = f"exponent {exponent:.2f} ({low:.2f} to {high:.2f})"
    best = _one(panel, "power_law_optimum_exponent")
    return f"{text}, that of the optimum's curve in the same fit {best:.2f}" if np.isfinite(best) else text


def _one(panel: Panel, name: str) -> float:
    return float(average(panel.data[name].transpose("seed", "step").values, 0)[0])
