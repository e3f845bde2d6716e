"""Which cells of a cube are drawn, what their panels are called, and means over seeds."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iclkit.api import frozen
from iclkit_figures import style

LIMIT = 12  # panels in one figure


@frozen(kw_only=True, eq=False)
class Panel:
    """One place of the sweep: its title and its measured seeds, dims (seed, step, position)."""

    title: str
    data: xr.Dataset


@frozen(kw_only=True, eq=False)
class Panels:
    """The panels of a figure, how many stand in a row, the split they show, and what must be said under them."""

    panels: tuple[Panel, ...]
    columns: int
    split: str
    notes: tuple[str, ...]


def choose(data: xr.Dataset, name: str, others: Sequence[str], split_by: str = "") -> Panels | None:
    """Choose the split and the cells in which a variable is known; None if there are none.

    The split is topics where it was measured, else sequences, else the first that was, those where `split_by` is
    known too before the others; among more places of the sweep than fit, every so many are taken.
    """
    if "seed" not in data[name].dims:
        data = data.drop_vars("seed", errors="ignore").expand_dims("seed")
    data = data[[name, *(other for other in others if other in data)]]
    known = data[name].notnull().any(["step", "position"]).compute()
    names = known["split"].values.tolist()
    order = [*(split for split in ("topics", "sequences") if split in names), *names]
    told = data[split_by].notnull() if split_by in data else known
    order.sort(key=lambda split: not told.sel(split=split).any())  # stable
    split = next((split for split in order if known.sel(split=split).any()), None)
    if split is None:
        return None
    return _arranged(data.sel(split=split), known.sel(split=split), split)


def cells(data: xr.Dataset, name: str, others: Sequence[str], own: Sequence[str]) -> Panels | None:
    """Choose the cells in which a variable is known; None if there are none.

    `own` are the dims of the variable and of the others that are no sweep's.
    """
    data = data[[name, *(other for other in others if other in data)]]
    if "seed" not in data[name].dims:
        data = data.drop_vars("seed", errors="ignore").expand_dims("seed")
    known = data[name].notnull().any([dim for dim in own if dim in data[name].dims]).compute()
    return _arranged(data, known, "") if known.any() else None


def _arranged(data: xr.Dataset, known: xr.DataArray, split: str) -> Panels:
    """Make a panel of each place of the sweep with a known cell, of every so many where there are more than fit."""
    dims = [str(dim) for dim in known.dims if dim != "seed"]
    places = [place for place in _places(known, dims) if known.isel(place).any()]
    shown = [places[index] for index in np.unique(np.linspace(0, len(places) - 1, LIMIT).round().astype(int))]
    columns = _columns(known, dims, len(shown))
    notes = []
    if len(shown) < len(places):
        notes.append(f"{len(shown)} of {len(places)} settings shown, evenly chosen")
    if missing := int((~known).sum()):
        notes.append(f"{missing} of {known.size} cells not measured")
    panels = tuple(
        Panel(
            title=place_title(known, place, room=96 // columns),
            data=data.isel(place).isel(seed=np.flatnonzero(known.isel(place).values)).compute(),
        )
        for place in shown
    )
    return Panels(panels=panels, columns=columns, split=split, notes=tuple(notes))


def mean_and_error(
    panel: Panel, name: str, dims: tuple[str, ...] = ("step", "position")
) -> tuple[np.ndarray, np.ndarray]:
    """Return a variable's mean over seeds and its standard error, over these dims.

    The error is over seeds where there are several, else over sequences.
    """
    values = panel.data[name].transpose("seed", *dims).values
    mean = average(values, 0)
    if len(values) > 1:
        spread = average((values - mean) ** 2, 0)
        return mean, np.sqrt(spread / (len(values) - 1))
    if f"{name}_se" in panel.data:
        return mean, panel.data[f"{name}_se"].transpose("seed", *dims).values[0]
    return mean, np.full_like(mean, np.nan)


def known_split(data: xr.Dataset, name: str) -> str | None:
    """Return the split to show of a variable: topics where it was measured, else sequences, else the first that was."""
    known = data[name].notnull().any([dim for dim in data[name].dims if dim != "split"])
    names = [str(split) for split in known["split"].values[known.values]]
    return next((split for split in ("topics", "sequences") if split in names), names[0] if names else None)


def optimum(panel: Panel, split: str) -> str:
    """Return the name of a split's optimum: what the cube says, else the population where topics are fresh."""
    if "excess_reference" in panel.data:
        return str(np.ravel(panel.data["excess_reference"].values)[0])
    return "population" if split.endswith("topics") else "mixture"


def at_last(panel: Panel, name: str) -> Panel:
    """Return a panel at the last step at which a variable is known; its data keep the dim of steps, with one entry."""
    known = panel.data[name].notnull()
    places = np.flatnonzero(known.any([dim for dim in known.dims if dim != "step"]).values)
    return Panel(title=panel.title, data=panel.data.isel(step=places[-1:]))


def average(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of what is finite, NaN where nothing is."""
    finite = np.isfinite(values)
    count = finite.sum(axis)
    return np.divide(np.where(finite, values, 0).sum(axis), count, out=np.full(count.shape, np.nan), where=count > 0)


def seeds_note(panels: Panels) -> str:
    """Say what the bands are."""
    counts = {panel.data.sizes["seed"] for panel in panels.panels}
    if counts == {1}:
        return "band: ±1 standard error over sequences"
    most = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(max(counts))
    return f"mean over {most} seeds, band: ±1 standard error over seeds"


def axes_of(made: Figure, panels: Panels) -> list[Axes]:
    """Make one titled axes per panel, in rows."""
    count, columns = len(panels.panels), panels.columns
    grid = made.add_gridspec(-(-count // columns), columns)
    axes = [made.add_subplot(grid[divmod(place, columns)]) for place in range(count)]
    for axis, panel in zip(axes, panels.panels, strict=True):
        axis.set_title(panel.title)
        axis.grid(axis="y", color="#e6e6e6", linewidth=0.5)
    return axes


def label_outer(axes: Sequence[Axes], columns: int, x: str, y: str) -> None:
    """Name the x axis under the lowest panel of each column and the y axis at the first of each row."""
    for place, axis in enumerate(axes):
        if place + columns >= len(axes):
            axis.set_xlabel(x)
        if place % columns == 0:
            axis.set_ylabel(y)


def share_y(axes: Sequence[Axes], columns: int) -> None:
    """Give all panels one y range, told once in each row, unless that would press one of them flat."""
    lows, highs = np.array([axis.get_ylim() for axis in axes]).T
    if highs.max() - lows.min() <= 4 * (highs - lows).min():
        for place, axis in enumerate(axes):
            axis.set_ylim(lows.min(), highs.max())
            axis.tick_params(labelleft=place % columns == 0)


def size(panels: Panels) -> tuple[float, float]:
    """Return width and height in inches: one column for one panel, the text's width for more."""
    if len(panels.panels) == 1:
        return style.COLUMN, 2.6
    rows = -(-len(panels.panels) // panels.columns)
    return style.TEXT_WIDTH, 0.75 + (1.6 if panels.columns > 2 else 2.0) * rows


def _places(known: xr.DataArray, dims: Sequence[str]) -> Iterator[dict[str, int]]:
    for index in np.ndindex(*(known.sizes[dim] for dim in dims)):
        yield dict(zip(dims, index, strict=True))


def _columns(known: xr.DataArray, dims: Sequence[str], count: int) -> int:
    """Let columns follow the sweep's last dim where every place of the sweep is shown, else fill rows evenly."""
    wide = [known.sizes[dim] for dim in dims if known.sizes[dim] > 1]
    if len(wide) > 1 and wide[-1] <= 4 and count == np.prod(wide):
        return wide[-1]
    rows = -(-count // 4)
    return -(-count // rows)


def place_title(known: xr.DataArray, place: dict[str, int], room: int = 30) -> str:
    """Return what a place of the sweep is called, index by dim: the dims that vary, with their values.

    In all panels alike it is in several lines, a dim in each, where one of them has no room for so many characters in
    one line, and values that are names stand alone where one of them has no room beside its dim.
    """
    told = {dim: _values(known, dim) for dim in place if known.sizes[dim] > 1}
    longest = {dim: len(f"{dim} = ") + max(map(len, values)) for dim, values in told.items()}
    bare = {dim for dim in told if _named(known, dim) and longest[dim] > room}
    lines = [
        values[place[dim]] if dim in bare else f"{dim.replace('_', ' ')} = {values[place[dim]]}"
        for dim, values in told.items()
    ]
    if sum(longest.values()) + 2 * len(longest) - 2 <= room:
        return ", ".join(lines)
    return "\n".join(line if len(line) <= room else line[: room - 1] + "…" for line in lines)


def _values(known: xr.DataArray, dim: str) -> list[str]:
    values = known[dim].values if dim in known.coords else range(known.sizes[dim])
    return [_plain(value) for value in values]


def _named(known: xr.DataArray, dim: str) -> bool:
    """Whether the values of a dim are names, which can do without its own."""
    return dim in known.coords and known[dim].dtype.kind not in "iuf"


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    number = float(value)
    if np.isinf(number):
        return "fresh"
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e6 else f"{number:.4g}"
