"""Across cells of a cube: intervals over seeds, scaling laws, phase maps, thresholds, rank correlations.

xarray in, xarray out, on any cube that `iclkit.open_cube` gives. Missing cells (NaN) are left out; "fresh" is infinity
on its axis, which has no place on a logarithmic one. Units stay; of a wrong name the right ones are told.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iclkit.student import t_quantile

Array = NDArray[np.float64]

_REDUCTIONS = ("mean", "median", "min", "max", "std")


def seed_interval(da: xr.DataArray, dim: str = "seed", level: float = 0.95) -> xr.Dataset:
    """Return `mean`, `low`, `high` and `count` over a dim: mean -+ t s / sqrt(n), Student's t with n - 1 degrees.

    The interval is NaN where fewer than two values are there. Raises ValueError for an unknown dim.
    """
    _dim(da, dim)
    da = da.compute()
    count = da.notnull().sum(dim)
    mean, deviation = da.mean(dim), da.std(dim, ddof=1) if da.sizes[dim] > 1 else da.mean(dim) * np.nan
    half = xr.apply_ufunc(lambda n: _quantiles(n - 1, level), count) * deviation / np.sqrt(count.where(count > 1))
    return _with_attrs(da, mean=mean, low=mean - half, high=mean + half).assign(count=count)


def scaling_fit(
    da: xr.DataArray, dim: str, theory: float | None = None, replicates: str = "seed", level: float = 0.95
) -> xr.Dataset:
    """Fit y = coefficient * x^exponent along a dim by least squares of logarithms.

    Parameters
    ----------
    da : positive values; others, NaN and infinite coordinates ("fresh") are left out, `count` are used.
    dim : a dim with numbers, such as topics; or a coordinate along one, such as data_length of a zip.
    theory : an exponent to hold against it: then `covers` says whether the interval has it.
    replicates : where there is such a dim with several entries (seeds), each is fitted for itself, and the interval is
        Student's over them: what one seed's cells share does not make it too narrow. Without, the interval is that of
        the residuals, for which three points are needed.

    Returns `exponent`, `low`, `high`, `coefficient`, `count`, and with a theory `theory` and `covers`. A slope is NaN
    with fewer than two points.

    """
    along, x = _axis(da, dim)
    fits = xr.apply_ufunc(
        lambda y: _line(x, y, level),
        da.compute(),
        input_core_dims=[[along]],
        output_core_dims=[["number"]],
        vectorize=True,
    )
    slope, level_at_one, half, count = (fits.isel(number=i, drop=True) for i in range(4))
    if da.sizes.get(replicates, 1) > 1:
        over = seed_interval(slope, replicates, level)
        slope, low, high = over["mean"], over["low"], over["high"]
        level_at_one, count = level_at_one.mean(replicates), count.sum(replicates)
    else:
        low, high = slope - half, slope + half
    made = xr.Dataset(
        {"exponent": slope, "low": low, "high": high, "coefficient": np.exp(level_at_one), "count": count.astype(int)}
    )
    made["coefficient"].attrs = {"units": da.attrs["units"]} if "units" in da.attrs else {}
    if theory is not None:
        made = made.assign(theory=theory, covers=(low <= theory) & (theory <= high))
    return made.assign_attrs(fit=f"{da.name or 'values'} against {dim}")


def phase_map(ds: xr.Dataset, x: str, y: str, variable: str, reduce: str = "mean") -> xr.DataArray:
    """Return a variable over two sweep axes, dims (y, x), reduced over all others such as seed and position.

    `reduce` is mean, median, min, max or std; NaN is left out. Raises ValueError where more than one step, or more
    than one name of a text dim (split, reference), is left: averages of those mean nothing, so select one before.
    """
    if variable not in ds:
        raise ValueError(f"there is no variable {variable!r}; there are {_listed(ds.data_vars)}")
    if reduce not in _REDUCTIONS:
        raise ValueError(f"reduce must be one of {', '.join(_REDUCTIONS)}, not {reduce!r}")
    da = ds[variable]
    rest = [str(dim) for dim in da.dims if dim not in (_dim(da, x), _dim(da, y))]
    for dim in rest:
        if da.sizes[dim] > 1 and (dim == "step" or (dim in da.coords and da[dim].dtype.kind in "OUT")):
            how = "iclkit.final(ds), or " if dim == "step" else ""
            raise ValueError(f"{variable} has {da.sizes[dim]} entries of {dim}; select one: {how}ds.sel({dim}=...)")
    return getattr(da, reduce)(rest, keep_attrs=True).transpose(y, x)


def threshold_crossing(
    da: xr.DataArray, dim: str = "step", below: float | None = None, above: float | None = None
) -> xr.DataArray:
    """Return where a curve first reaches a threshold, in the unit of the dim; NaN where it never does.

    Between two points it is interpolated linearly over ln(1 + step), or over the logarithm of a dim without a 0. NaN
    and infinite coordinates are left out. Give `below` for a falling curve or `above` for a rising one.
    """
    if (below is None) == (above is None):
        raise ValueError("give either below or above")
    along, x = _axis(da, dim)
    sign, threshold = (1.0, below) if below is not None else (-1.0, above)
    assert threshold is not None
    order = x.argsort()
    x, offset = x[order], 0.0 if (x[np.isfinite(x)] > 0).all() else 1.0

    def first(curve: Array) -> float:
        known = np.isfinite(curve) & np.isfinite(x) & (x + offset > 0)
        axis, left = np.log(x[known] + offset), sign * (curve[known] - threshold)
        reached = np.flatnonzero(left <= 0)
        if not len(reached):
            return math.nan
        at = reached[0]
        if at == 0:
            return float(x[known][0])
        share = left[at - 1] / (left[at - 1] - left[at])
        return math.exp(axis[at - 1] + share * (axis[at] - axis[at - 1])) - offset

    made = xr.apply_ufunc(first, da.isel({along: order}).compute(), input_core_dims=[[along]], vectorize=True)
    word = "below" if below is not None else "above"
    about = {"long_name": f"{dim} at which {da.name or 'the curve'} is first {word} {threshold:g}"}
    if "units" in da[dim].attrs:
        about["units"] = da[dim].attrs["units"]
    return made.assign_attrs(about)


def rank_correlation(
    a: xr.DataArray,
    b: xr.DataArray,
    dims: str | Sequence[str] | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Return Spearman's rank correlation of two variables over dims (all that they have, if absent).

    Returns `correlation`, `low` and `high` (bootstrap percentiles over pairs, drawn from `seed`) and `count`; ties
    share their mean rank. NaN where fewer than three pairs are there, or one side has a single value.
    """
    a, b = xr.broadcast(a.compute(), b.compute())
    over = list(map(str, a.dims)) if dims is None else [dims] if isinstance(dims, str) else list(dims)
    for dim in over:
        _dim(a, dim)

    def measured(first: Array, second: Array) -> Array:
        known = np.isfinite(first) & np.isfinite(second)
        pairs = np.stack([first[known], second[known]])
        if known.sum() < 3:
            return np.array([math.nan, math.nan, math.nan, known.sum()])
        generator = np.random.default_rng(seed)
        drawn = np.array([_spearman(pairs[:, generator.integers(known.sum(), size=known.sum())]) for _ in range(draws)])
        drawn = drawn[np.isfinite(drawn)]
        edges = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) if len(drawn) else [math.nan] * 2
        return np.array([_spearman(pairs), *edges, known.sum()])

    made = xr.apply_ufunc(
        measured,
        a.stack(pair=over),
        b.stack(pair=over),
        input_core_dims=[["pair"], ["pair"]],
        output_core_dims=[["number"]],
        vectorize=True,
    )
    names = ("correlation", "low", "high", "count")
    found = xr.Dataset({name: made.isel(number=i, drop=True) for i, name in enumerate(names)})
    return found.assign(count=found["count"].astype(int))


def _quantiles(freedom: Array, level: float) -> Array:
    """Return Student's two-sided quantile for each number of degrees of freedom."""
    found = {n: t_quantile((1 + level) / 2, n) for n in np.unique(freedom).tolist()}
    return np.vectorize(found.__getitem__, otypes=[float])(freedom)


def _line(x: Array, y: Array, level: float) -> Array:
    """Return slope, level at x = 1, half the slope's interval, and how many points of ln y against ln x."""
    used = np.isfinite(x) & (x > 0) & np.isfinite(y) & (y > 0)
    count = int(used.sum())
    a, b = np.log(x[used]), np.log(y[used])
    if count < 2 or np.ptp(a) == 0:
        return np.array([math.nan, math.nan, math.nan, count])
    spread = ((a - a.mean()) ** 2).sum()
    slope = ((a - a.mean()) * (b - b.mean())).sum() / spread
    left = b - b.mean() - slope * (a - a.mean())
    error = math.sqrt((left**2).sum() / (count - 2) / spread) if count > 2 else math.nan
    return np.array([slope, b.mean() - slope * a.mean(), t_quantile((1 + level) / 2, count - 2) * error, count])


def _spearman(pairs: Array) -> float:
    """Return the correlation of the ranks of two rows (2, n)."""
    a, b = (_ranks(row) - (pairs.shape[1] - 1) / 2 for row in pairs)
    scale = math.sqrt(float((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale else math.nan


def _ranks(values: Array) -> Array:
    """Return ranks from 0, equal values sharing their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts + 1) / 2)[place]


def _dim(da: xr.DataArray, dim: str) -> str:
    if dim not in da.dims:
        raise ValueError(f"{da.name or 'this array'} has no dimension {dim!r}; it has {_listed(da.dims)}")
    return dim


def _axis(da: xr.DataArray, name: str) -> tuple[str, Array]:
    """Return the dim of a coordinate, and its numbers; a dim without a coordinate or with a text one is refused."""
    if name not in da.coords or da[name].ndim != 1:
        _dim(da, name)
        raise ValueError(f"the dimension {name!r} has no coordinate; give it one with assign_coords")
    if da[name].dtype.kind not in "iuf":
        dim = str(da[name].dims[0])
        numbers = [c for c in da.coords if da[c].dims == (dim,) and da[c].dtype.kind in "iuf"]
        raise ValueError(f"{name!r} has names, not numbers; coordinates with numbers along it: {_listed(numbers)}")
    return str(da[name].dims[0]), da[name].values.astype(np.float64)


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names)) or "none"


def _with_attrs(da: xr.DataArray, **made: xr.DataArray) -> xr.Dataset:
    return xr.Dataset({name: array.assign_attrs(da.attrs) for name, array in made.items()})
