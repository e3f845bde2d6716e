"""The figure `algorithm-mixture`: which named predictors explain the model, as areas over training."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from iclkit_figures import style
from iclkit_figures.panels import Panels, average, axes_of, cells, known_split, label_outer, size
from iclkit_figures.step_axis import step_axis

_OWN = "step", "predictor"
_COLOURS = {  # Okabe and Ito's, which colour-blind readers tell apart, and tints of them
    "uniform": "#d9d9d9",
    "static-unigram": "#56b4e9",
    "static-bigram": "#0072b2",
    "context-unigram": "#f5c77e",
    "context-bigram": "#e69f00",
    "unigram-retrieval": "#8fd3bd",
    "bigram-retrieval": "#009e73",
    "oracle": "#999999",
    "population": "#cc79a7",
    "mixture": "#d55e00",
}
_LEAST = 0.02  # a weight that is smaller at every step is not shown by name


def draw(data: xr.Dataset) -> Figure | None:
    """Draw the weights over steps, of the topics split or the first there is; None if no cell is measured."""
    split = known_split(data, "algorithm_weight")
    if split is None:
        return None
    with style.style():
        panels = cells(data.sel(split=split, drop=True), "algorithm_weight", ("algorithm_residual",), _OWN)
        return None if panels is None else _figure(panels, split)


def _figure(panels: Panels, split: str) -> Figure:
    width, height = size(panels)
    made = style.figure(width, height + 0.3)
    axes = axes_of(made, panels)
    shown: list[str] = []
    residuals = []
    for axis, panel in zip(axes, panels.panels, strict=True):
        weight = average(panel.data["algorithm_weight"].transpose("seed", "predictor", "step").values, 0)
        kept = np.isfinite(weight).any(0)
        steps, weight = panel.data["step"].values[kept].astype(float), np.nan_to_num(weight[:, kept])
        names = [str(name) for name in panel.data["predictor"].values]
        order = sorted(range(len(names)), key=lambda place: _place(names[place]))
        axis.stackplot(
            steps, weight[order], colors=[_COLOURS.get(names[place], style.GREY) for place in order], linewidth=0
        )
        axis.grid(visible=False)
        axis.set_ylim(0, 1)
        step_axis(axis, float(steps[-1]))
        shown += [names[place] for place in order if weight[place].max() >= _LEAST]
        left = average(panel.data["algorithm_residual"].transpose("seed", "step").values, 0)[kept]
        residuals.append(f"{left.max():.2g} at most, {left[-1]:.2g} at the end")
    label_outer(axes, panels.columns, "training step", "weight")
    named = sorted(dict.fromkeys(shown), key=_place, reverse=True)
    made.legend([Patch(color=_COLOURS.get(name, style.GREY)) for name in named], named, loc="outside right center")
    seeds = max(panel.data.sizes["seed"] for panel in panels.panels)
    style.annotate(
        made,
        None,
        [
            f"split {split}",
            f"mean over {seeds} seeds" if seeds > 1 else "",
            f"mean KL divergence that no mixture explains, nat: {residuals[0]}" if len(residuals) == 1 else "",
            *panels.notes,
        ],
    )
    return made


def _place(name: str) -> int:
    return list(_COLOURS).index(name) if name in _COLOURS else len(_COLOURS)
