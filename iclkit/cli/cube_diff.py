"""`iclkit cube diff`: whether two cubes hold the same numbers, costs and versions aside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iclkit.cli import table
from iclkit.cli.options import as_json

if TYPE_CHECKING:
    from xarray import DataArray, Dataset

COSTS = frozenset({"wall_time", "peak_memory", "tokens_per_second", "prior_cost"})


@click.command("diff")
@click.argument("left", type=click.Path(path_type=Path))
@click.argument("right", type=click.Path(path_type=Path))
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="X",
    help="Call numbers equal that differ by at most this; 0 if absent: the same bits.",
)
@as_json
@click.pass_context
def diff(ctx: click.Context, left: Path, right: Path, tolerance: float, as_json: bool) -> None:
    """Compare two cubes; exit code 0 if they are equal, 1 if they differ.

    Costs (times and memory) and attributes such as versions are not compared.
    """
    from iclkit import cube

    with cube.open_cube(left) as one, cube.open_cube(right) as other:
        found = list(differences(one.load(), other.load(), tolerance))
    if as_json:
        table.dump({"equal": not found, "differences": [{"where": where, "what": what} for where, what in found]})
    else:
        for where, what in found or [("equal", "costs and versions aside")]:
            click.echo(f"{where}: {what}")
    if found:
        ctx.exit(1)


def differences(left: Dataset, right: Dataset, tolerance: float = 0.0) -> Iterator[tuple[str, str]]:
    """Say where two cubes differ: (variable or coordinate, what differs)."""
    costs = COSTS | {name for cube in (left, right) for name, each in cube.variables.items() if "cost" in each.attrs}
    for name in sorted({*left.variables, *right.variables} - costs, key=str):
        if name not in left.variables or name not in right.variables:
            yield str(name), f"only in the {'first' if name in left.variables else 'second'}"
            continue
        what = _difference(left[name], right[name], tolerance)
        if what is not None:
            yield str(name), what


def _difference(left: DataArray, right: DataArray, tolerance: float) -> str | None:
    import numpy as np

    if left.dims != right.dims:
        return f"dimensions {_shape(left)} and {_shape(right)}"
    if left.shape != right.shape:
        return f"sizes {_shape(left)} and {_shape(right)}"
    one, other = left.values, right.values
    if left.dtype.kind not in "fiub" or right.dtype.kind not in "fiub":
        unequal = np.asarray(one.astype(object) != other.astype(object))
        distance = None
    else:
        both_missing = np.isnan(one.astype(float)) & np.isnan(other.astype(float))
        with np.errstate(invalid="ignore"):
            apart = np.where(one == other, 0.0, np.abs(one.astype(float) - other.astype(float)))
        unequal = ~both_missing & ~(apart <= tolerance)
        distance = apart[unequal]
    if not unequal.any():
        return None
    text = f"{int(unequal.sum())} of {unequal.size} values differ"
    if distance is not None:
        known = distance[~np.isnan(distance)]
        text += f", by {known.max():.3g} at most" if known.size else ""
        text += f", {distance.size - known.size} of them missing in one" if known.size < distance.size else ""
    first = np.argwhere(np.atleast_1d(unequal))[0] if left.ndim else ()
    return text + _place(left, right, first)


def _place(left: DataArray, right: DataArray, index: Any) -> str:
    """Say where the first difference stands, and both values."""
    place = tuple(int(entry) for entry in index)
    where = ", ".join(
        f"{dim}={left[dim].values[entry]}" if dim in left.coords else f"{dim}[{entry}]"
        for dim, entry in zip(left.dims, place, strict=True)
        if dim != left.name
    )
    return f"; first{f' at {where}' if where else ''}: {left.values[place]} and {right.values[place]}"


def _shape(array: DataArray) -> str:
    return "(" + ", ".join(f"{dim} {size}" for dim, size in array.sizes.items()) + ")"
