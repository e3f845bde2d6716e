"""Sudden changes of a curve over training steps, and the plateaus between them.

The axis is u = ln(1 + step). Sudden is what a sigmoid narrower than a quarter of the axis fits better than a smooth
drift: a curve is a + b u + sum_j h_j / (1 + exp(-(u - c_j) / s_j)), or a polynomial of u up to degree 5; the Bayesian
information criterion chooses which, and how many sigmoids.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Array = NDArray[np.float64]

_EDGE = 2 * np.log(9.0)  # a sigmoid goes from 10 % to 90 % within this many of its scales
_WIDEST = 0.25  # of the axis, from 10 % to 90 %
_WIDTHS = 8
_CENTRES = 200
_DEGREE = 5  # of the smoothest alternative
_NUMBERS = 3  # parameters of a change: centre, scale and height
_LEAST = 0.05  # of the curve's range: smaller changes are not looked for
_RESOLVED = 0.01  # of the curve's range: structure below this is not explained
_SHARPER = 2.0  # times the curve's mean slope
_SWEEPS = 4
_ROWS = 400  # points that are looked at: more are averaged in bins


@frozen(kw_only=True)
class ChangePoint:
    """A sudden change.

    Parameters
    ----------
    step : its middle.
    interval : (low, high), steps, by profile likelihood.
    begin, end : the steps at which 10 % and 90 % of it are done; their difference is its width.
    height : the change of the curve, in its unit; negative where it falls.

    """

    step: float
    interval: tuple[float, float]
    begin: float
    end: float
    height: float

    @property
    def width(self) -> float:
        """From 10 % to 90 %, steps."""
        return self.end - self.begin


@frozen(kw_only=True)
class Plateau:
    """A stretch between two changes, and the named predictor whose loss is nearest to its level.

    Parameters
    ----------
    first, last : steps of its first and last point.
    level : the mean of the curve there.
    name : the nearest predictor.
    distance : level less that predictor's loss.

    """

    first: float
    last: float
    level: float
    name: str
    distance: float


def change_points(
    steps: Array, curve: Array, errors: Array | None = None, most: int = 5, level_drop: float = 3.841
) -> list[ChangePoint]:
    """Return the sudden changes of a curve, in order.

    Parameters
    ----------
    steps : (n,), increasing, from 0 on.
    curve : (n,); NaN is left out.
    errors : (n,), its standard errors, up to a common factor: the scatter tells their size.
    most : how many changes at most, and no more than (n - 4) / 4.
    level_drop : by how much twice the log-likelihood may fall within an interval; 3.841 for 95 %.

    A change counts where it is at least 5 % of the curve's range and twice as steep as the curve is on average.
    Intervals reach over the gap between the snapshots that a change falls into.

    """
    axis, values, weights = _prepared(steps, curve, errors)
    if len(axis) < 8 or np.ptp(values) == 0:
        return []
    fits = _Fits(axis, values, weights)
    found: list[tuple[float, float]] = []
    best, best_score = found, fits.smooth_score()
    for _ in range(min(most, (len(axis) - 4) // 4)):
        found = fits.with_one_more(found)
        score = fits.score(fits.scatter(fits.design(found)), 2 + _NUMBERS * len(found))
        if score < best_score and _apart(found):
            best, best_score = found, score
        elif len(found) > len(best) + 1:  # two more in vain
            break
    sizes, steep = fits.heights(best), _SHARPER * np.ptp(values) / np.ptp(axis)
    kept = [
        place
        for place, ((_, scale), size) in enumerate(zip(best, sizes, strict=True))
        if abs(size) >= _LEAST * np.ptp(values) and abs(size) / (4 * scale) >= steep
    ]
    return sorted(
        (_told(fits, best, place, sizes[place], level_drop) for place in kept), key=lambda change: change.step
    )


def plateaus(
    steps: Array, curve: Array, changes: Sequence[ChangePoint], predictors: Mapping[str, float]
) -> list[Plateau]:
    """Return the stretches before, between and after changes, each with the predictor of the nearest loss.

    A stretch without a snapshot, where two changes run into each other, is left out.
    """
    edges = [-np.inf, *(edge for change in changes for edge in (change.begin, change.end)), np.inf]
    found = []
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        inside = (steps >= low) & (steps <= high) & np.isfinite(curve)
        if inside.any():
            level = float(curve[inside].mean())
            name = min(predictors, key=lambda each: abs(predictors[each] - level))
            first, last = float(steps[inside][0]), float(steps[inside][-1])
            found.append(Plateau(first=first, last=last, level=level, name=name, distance=level - predictors[name]))
    return found


class _Fits:
    """Weighted least squares of one curve on the axis u, both (n,)."""

    def __init__(self, axis: Array, values: Array, weights: Array):
        self.axis, self.values, self._root = axis, values, np.sqrt(weights / weights.mean())
        span = np.ptp(axis)
        self._centres = np.linspace(axis[0], axis[-1], _CENTRES)
        self._scales = span * np.geomspace(_WIDEST / 64, _WIDEST, _WIDTHS) / _EDGE
        self._floor = (_RESOLVED * np.ptp(values)) ** 2
        self._grid = self._columns(self._centres, self._scales)

    def design(self, changes: Sequence[tuple[float, float]]) -> Array:
        """Return the columns of level, drift and changes, (n, 2 + k)."""
        columns = [np.ones_like(self.axis), self.axis - self.axis.mean()]
        return np.stack([*columns, *(_sigmoid(self.axis, *change) for change in changes)], axis=1)

    def scatter(self, design: Array) -> float:
        """Return the mean weighted square of what a design leaves."""
        return float((self._left(design, self.values) ** 2).mean())

    def score(self, scatter: float, numbers: int) -> float:
        """Return the Bayesian information criterion; scatter below what is to be resolved does not count.

        As in the corrected Akaike criterion the penalty is times n / (n - p - 1): with few points noise fits well.
        """
        count = len(self.axis)
        return count * np.log(scatter + self._floor) + numbers * np.log(count) * count / max(1, count - numbers - 1)

    def smooth_score(self) -> float:
        """Return the best criterion of a drift without sudden changes."""
        u = (self.axis - self.axis.mean()) / np.ptp(self.axis)
        degrees = range(min(_DEGREE, len(u) // 3) + 1)
        return min(self.score(self.scatter(u[:, None] ** np.arange(d + 1)), d + 1) for d in degrees)

    def with_one_more(self, changes: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Return changes and the one that explains most of the rest, all of them then moved to where they fit best."""
        found = [*changes, self._best(changes)]
        for _ in range(_SWEEPS):
            before = list(found)
            for place in range(len(found)):
                found[place] = self._best(found[:place] + found[place + 1 :])
            if found == before:
                break
        return found

    def profile(
        self, others: Sequence[tuple[float, float]], centres: Array, scales: Array | None = None
    ) -> tuple[Array, Array]:
        """Return, for one more change at each centre, the least scatter over scales and that scale, (m,) both."""
        scales = self._scales if scales is None else scales
        design = self.design(others)
        rest = self._left(design, self.values)
        base = float((rest**2).sum())
        grid = self._grid if centres is self._centres else self._columns(centres, scales)
        columns = self._left(design, grid)
        sizes = (columns**2).sum(0)
        new = sizes > 1e-9 * (grid**2).sum(0)  # not what the others span already
        gains = np.where(new, (columns.T @ rest) ** 2 / np.where(new, sizes, 1.0), 0.0)
        gains = gains.reshape(len(centres), len(scales))
        return (base - gains.max(1)) / len(self.axis), scales[gains.argmax(1)]

    def heights(self, changes: Sequence[tuple[float, float]]) -> Array:
        """Return the height of each change, (k,)."""
        root = self._root[:, None]
        return np.linalg.lstsq(self.design(changes) * root, self.values * self._root, rcond=None)[0][2:]

    def _columns(self, centres: Array, scales: Array) -> Array:
        """Return a sigmoid for each centre and scale, (n, m * widths)."""
        return _sigmoid(self.axis[:, None, None], centres[:, None], scales).reshape(len(self.axis), -1)

    def _best(self, others: Sequence[tuple[float, float]]) -> tuple[float, float]:
        """Return the change that fits best beside others: on the grid, then between its neighbours."""
        centres, scales = self._centres, self._scales
        for _ in range(3):
            scatter, widths = self.profile(others, centres, scales)
            place = int(scatter.argmin())
            centre, scale = float(centres[place]), float(widths[place])
            gap, ratio = centres[1] - centres[0], scales[1] / scales[0]
            centres = np.linspace(max(centre - gap, self.axis[0]), min(centre + gap, self.axis[-1]), 17)
            scales = np.geomspace(scale / ratio, min(scale * ratio, self._scales[-1]), 9)
        return centre, scale

    def _left(self, design: Array, values: Array) -> Array:
        """Return what weighted least squares of values (n,) or (n, m) leaves, in units of the weights."""
        base, _ = np.linalg.qr(design * self._root[:, None])
        scaled = values * (self._root if values.ndim == 1 else self._root[:, None])
        return scaled - base @ (base.T @ scaled)


def _told(
    fits: _Fits, changes: Sequence[tuple[float, float]], place: int, height: float, level_drop: float
) -> ChangePoint:
    """Describe a change, with the interval of centres whose likelihood is not much less."""
    centre, scale = changes[place]
    others = [change for index, change in enumerate(changes) if index != place]
    centres = np.unique(np.append(np.linspace(fits.axis[0], fits.axis[-1], 4 * _CENTRES + 1), centre))
    scatter, _ = fits.profile(others, centres)
    freedom = max(1, len(fits.axis) - 2 - _NUMBERS * len(changes))
    # The floor is in the score, not here: it would widen the interval of a precise curve without need.
    likely = freedom * np.log(np.maximum(scatter, 1e-300) / max(scatter.min(), 1e-300)) <= level_drop
    at = int(np.searchsorted(centres, centre))
    low, high = at, at
    while low > 0 and likely[low - 1]:
        low -= 1
    while high < len(centres) - 1 and likely[high + 1]:
        high += 1
    # Between two snapshots nothing can be told apart.
    below = fits.axis[np.searchsorted(fits.axis, centres[low], side="right") - 1]
    above = fits.axis[min(np.searchsorted(fits.axis, centres[high]), len(fits.axis) - 1)]
    return ChangePoint(
        step=float(np.expm1(centre)),
        interval=(float(np.expm1(below)), float(np.expm1(above))),
        begin=float(np.expm1(max(centre - _EDGE / 2 * scale, 0.0))),
        end=float(np.expm1(centre + _EDGE / 2 * scale)),
        height=float(height),
    )


def _apart(changes: Sequence[tuple[float, float]]) -> bool:
    """Return whether each change is 90 % done before the next is 10 % done: else they are one of another shape."""
    edges = [centre + side * _EDGE / 2 * scale for centre, scale in sorted(changes) for side in (-1, 1)]
    return edges == sorted(edges)


def _sigmoid(axis: Array, centre: float | Array, scale: float | Array) -> Array:
    return 0.5 + 0.5 * np.tanh((axis - centre) / (2 * scale))


def _prepared(steps: Array, curve: Array, errors: Array | None) -> tuple[Array, Array, Array]:
    """Return axis, values and weights without NaN, of no more than so many points."""
    known = np.isfinite(curve)
    if errors is not None:
        known &= np.isfinite(errors) & (errors > 0)
    axis, values = np.log1p(np.asarray(steps, dtype=np.float64)[known]), np.asarray(curve, dtype=np.float64)[known]
    weights = np.ones_like(values) if errors is None else errors[known] ** -2.0
    if len(axis) <= _ROWS:
        return axis, values, weights
    return binned(axis, values, weights, _ROWS)


def binned(axis: Array, values: Array, weights: Array, count: int) -> tuple[Array, Array, Array]:
    """Return axis and values averaged in at most `count` bins of equal width of the axis, and their sums of weights."""
    bins = np.floor((axis - axis[0]) / np.ptp(axis) * (count - 1)).astype(np.int64)
    total = np.bincount(bins, weights)
    filled = total > 0
    middle, mean = (np.bincount(bins, weights * each)[filled] / total[filled] for each in (axis, values))
    return middle, mean, np.asarray(total[filled], dtype=np.float64)
