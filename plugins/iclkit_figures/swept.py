"""A number that is swept, as an axis: which one, and what its values are called."""

from collections.abc import Collection

import numpy as np
import xarray as xr


def swept_axis(data: xr.Dataset, name: str, own: Collection[str], fewest: int) -> str | None:
    """Return the numeric sweep axis of a variable with the most values; None without one of `fewest` or more.

    `own` are the dims of the variable that are no sweep's.
    """
    swept = [str(dim) for dim in data[name].dims if dim not in (*own, "seed") and data[dim].dtype.kind in "iuf"]
    axis = max(swept, key=lambda dim: data.sizes[dim], default=None)
    return None if axis is None or data.sizes[axis] < fewest else axis


def value_labels(values: np.ndarray) -> list[str]:
    """Return what values are called: infinity is "fresh"."""
    return ["fresh" if np.isinf(value) else f"{value:g}" for value in values]
