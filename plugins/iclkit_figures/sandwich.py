"""The figure `sandwich`: the exact optimum below, the population loss between, certificates above."""

import json
from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from iclkit.api import frozen
from iclkit_figures import style
from iclkit_figures.panels import LIMIT, place_title

_LOWER, _MIDDLE, _UPPER = "#4477aa", "#222222", "#cc6677"
_ABOUT = {"sequences": "fresh sequences of the training topics", "topics": "fresh topics"}


@frozen(kw_only=True, eq=False)
class Column:
    """One certificate: where it stands in the sweep, what made it, and the numbers it stands between (nats)."""

    name: str
    value: float
    valid: bool
    population: float
    error: float
    lower: float
    baseline: float


def draw(data: xr.Dataset) -> Figure | None:
    """Draw one row per target: certificates by estimator and place of the sweep, and by position; None without any."""
    estimators = [str(name) for name in data.data_vars if f"{name}_record" in data and "target" in data[name].dims]
    if not estimators:
        return None
    data = data.load()
    targets = [name for name in data["target"].values.tolist() if _any(data.sel(target=name), estimators)]
    if not targets:
        return None
    most = max(len(list(_columns(data.sel(target=name), estimators))) for name in targets)
    alone = most > LIMIT and data.sizes.get("seed", 1) > 1
    if alone:
        data = data.isel(seed=[0])
    with style.style():
        return _figure(data, estimators, targets, "first seed" if alone else "")


def _any(data: xr.Dataset, estimators: list[str]) -> bool:
    return any(bool(data[name].notnull().any()) for name in estimators)


def _figure(data: xr.Dataset, estimators: list[str], targets: list[str], note: str) -> Figure:
    resolved = "holdout_block" in data and bool(data["holdout_block"].notnull().any())
    made = style.figure(style.TEXT_WIDTH if resolved else style.COLUMN, 0.7 + 2.0 * len(targets))
    axes = made.subplots(len(targets), 2 if resolved else 1, squeeze=False)
    hidden = 0
    for row, name in zip(axes, targets, strict=True):
        part = data.sel(target=name)
        columns = list(_columns(part, estimators))
        hidden = max(hidden, len(columns) - LIMIT)
        _levels(row[0], columns[:LIMIT])
        row[0].set_title(f"{_ABOUT.get(name, name)}")
        row[0].set_ylabel("nat per token")
        if resolved:
            _by_block(row[1], part)
    if resolved:
        axes[-1, 1].set_xlabel("position")
    made.legend(
        handles=[
            Line2D([], [], color=_UPPER, marker="v", linestyle="none", label="certificate"),
            Line2D([], [], color=_UPPER, marker="v", mfc="none", linestyle="none", label="not valid"),
            Line2D([], [], color=_MIDDLE, marker="o", linestyle="none", label="population loss, measured"),
            Line2D([], [], color=_LOWER, linewidth=1.6, label="exact optimum"),
            Patch(color="#dddddd", label="slack"),
        ],
        loc="outside upper center",
        ncols=5 if resolved else 3,
    )
    notes = [
        "population loss: of the certified predictor (the model, mixed with a fixed one); bars: ±2 standard errors",
        "dotted: knowing nothing",
        note,
    ]
    if resolved:
        several = any(data.sizes[dim] > 1 for dim in data["status"].dims)
        notes.append("right: by block of positions, all certified at once" + (", first cell" if several else ""))
    if hidden > 0:
        notes.append(f"the first {LIMIT} certificates of {LIMIT + hidden}")
    style.annotate(made, None, notes)
    return made


def _columns(data: xr.Dataset, estimators: list[str]) -> Iterator[Column]:
    """Iterate over the certificates of a target: place of the sweep by place, estimator by estimator."""
    sweep = list(map(str, data["status"].dims))
    several = [dim for dim in sweep if data.sizes[dim] > 1]
    for index in np.ndindex(*(data.sizes[dim] for dim in sweep)):
        place = dict(zip(sweep, index, strict=True))
        where = place_title(data["status"], {dim: place[dim] for dim in several})
        for name in estimators:
            one = data.isel(place)
            for inner in np.ndindex(*one[name].shape):
                value = one[name].values[inner]
                if np.isfinite(value):
                    label = _label(one[name], inner) if len(estimators) > 1 or inner else ""
                    yield Column(
                        name="\n".join(filter(None, [where, label])),
                        value=float(value),
                        valid=bool(_number(one, f"{name}_valid", inner) == 1),
                        population=_number(one, f"{name}_population", inner),
                        error=_number(one, f"{name}_population_se", inner),
                        lower=_number(one, f"{name}_lower", inner),
                        baseline=_baseline(str(one[f"{name}_record"].values[inner])),
                    )


def _label(bound: xr.DataArray, inner: tuple[int, ...]) -> str:
    """Return the name of a certificate with its own settings, and what it is a loss above."""
    settings = [
        f"{str(dim).replace('_', ' ')} {bound[dim].values[place]:g}"
        for dim, place in zip(bound.dims, inner, strict=True)
    ]
    above = "above the oracle" if "above the oracle" in bound.attrs.get("long_name", "") else ""
    return "\n".join(filter(None, [str(bound.name).replace("_", " "), ", ".join(settings), above]))


def _baseline(record: str) -> float:
    known = json.loads(record).get("references", {}).get("baseline") if record else None
    return np.nan if known is None else float(known)


def _number(data: xr.Dataset, name: str, place: tuple[int, ...]) -> float:
    return float(data[name].values[place]) if name in data and data[name].ndim == len(place) else np.nan


def _levels(axes: Axes, columns: list[Column]) -> None:
    """Draw one column per certificate; one far above the baseline stands at the top, with its number."""
    known = [level for one in columns for level in (one.lower, one.population, one.baseline) if np.isfinite(level)]
    reach = max(known) + 0.25 * (max(known) - min(known)) if known else np.inf
    for x, one in enumerate(columns):
        shown = min(one.value, reach)
        if shown < one.value:
            axes.annotate(
                f"{one.value:.3g}",
                (x, shown),
                (0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=style.NOTE_SIZE,
            )
        if np.isfinite(one.population):
            axes.fill_between([x - 0.3, x + 0.3], one.population, shown, color="#dddddd", linewidth=0)
            axes.errorbar([x], [one.population], [2 * one.error], color=_MIDDLE, marker="o", linewidth=0.8)
        if np.isfinite(one.lower):
            axes.plot([x - 0.3, x + 0.3], [one.lower] * 2, color=_LOWER, linewidth=1.6)
        axes.plot([x - 0.3, x + 0.3], [one.baseline] * 2, color=style.GREY, linewidth=0.9, linestyle=":")
        marker = "v" if shown == one.value else "^"  # up: it goes on
        axes.plot([x], [shown], color=_UPPER, marker=marker, mfc=None if one.valid else "none", markersize=5)
    names = [one.name or "held out" for one in columns]
    leaning = len(names) > 3
    axes.set_xticks(range(len(names)), [name.replace("\n", ", ") if leaning else name for name in names])
    for label in axes.get_xticklabels() if leaning else ():
        label.set(rotation=40, ha="right", rotation_mode="anchor", fontsize=style.NOTE_SIZE)
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.5)


def _by_block(axes: Axes, data: xr.Dataset) -> None:
    """Draw certificates and measured losses by block of positions, of the first place of the sweep that has them."""
    limits = data["holdout_block"]
    sweep = [dim for dim in limits.dims if dim != "block"]
    names = ("holdout_block", "holdout_block_population", "holdout_block_population_se", "holdout_gain")
    cells = data[[name for name in names if name in data]]
    cells = cells.stack(cell=sweep) if sweep else cells.expand_dims(cell=[0])
    known = np.flatnonzero(cells["holdout_block"].notnull().any("block").values)
    if not len(known):
        axes.set_visible(False)
        return
    one = cells.isel(cell=known[0])
    one = one.isel(block=np.flatnonzero(one["holdout_block"].notnull().values))
    x, upper, middle = (one[name].values for name in ("block", "holdout_block", "holdout_block_population"))
    edges = np.append(x, 2 * x[-1] - x[-2] if len(x) > 1 else x[-1] + 1)
    axes.stairs(upper, edges, baseline=middle, fill=True, color="#dddddd")
    centres = (edges[1:] + edges[:-1]) / 2
    for values, colour, marker in ((upper, _UPPER, "v"), (middle, _MIDDLE, "o")):
        axes.stairs(values, edges, baseline=None, color=colour)
        axes.plot(centres, values, color=colour, marker=marker, markersize=3, linestyle="none")
    if "holdout_block_population_se" in one:
        error = 2 * one["holdout_block_population_se"].values
        axes.errorbar(centres, middle, error, color=_MIDDLE, linestyle="none", elinewidth=0.8)
    low, high = np.nanmin([middle, upper]), np.nanmax([middle, upper])
    axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.5)
    gain = float(one["holdout_gain"])
    if np.isfinite(gain):
        axes.set_title(f"certified gain in context: {gain:.3f} nat" if gain > 0 else "no gain certified")
