"""Streaming means and standard errors in float64: memory does not grow with the number of sequences.

Sequences come in order of their group (topic). NaN values are left out. Values may have any trailing shape.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Reducer:
    """The mean over sequences and its standard error.

    stratified: the groups are given, sequences are sampled in each, so only the scatter within groups counts;
    groups with one sequence are pooled. clustered: the groups are the sample, so the scatter of their sums counts
    (the ratio estimator). With one sequence per group both are the plain standard error.
    """

    def __init__(self, design: Literal["stratified", "clustered"]):
        self._design = design
        self._open: tuple[Any, Array, Array, Array] | None = None  # group, count, mean, sum of squared deviations
        self._shift: Array | None = None

    def add(self, values: Array, groups: NDArray[np.int64]) -> None:
        """Add values (b, ...) of sequences whose groups (b,) continue in order."""
        values = np.asarray(values, dtype=np.float64)
        if not len(values):
            return
        if self._shift is None:
            self._shift = self._begin(values)
        values = values - self._shift
        starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
        valid = ~np.isnan(values)
        filled = np.where(valid, values, 0.0)
        count = np.add.reduceat(valid.astype(np.float64), starts)
        mean = np.add.reduceat(filled, starts) / np.maximum(count, 1)
        lengths = np.diff(np.r_[starts, len(values)])
        deviation = np.where(valid, values - np.repeat(mean, lengths, axis=0), 0.0)
        squares = np.add.reduceat(deviation**2, starts)
        first = groups[starts[0]]
        if self._open is not None and self._open[0] == first:
            merged = _merge(self._open[1:], (count[0], mean[0], squares[0]))
            count[0], mean[0], squares[0] = merged
        elif self._open is not None:
            self._close(*(part[None] for part in self._open[1:]))
        self._close(count[:-1], mean[:-1], squares[:-1])
        self._open = groups[starts[-1]], count[-1], mean[-1], squares[-1]

    def result(self) -> tuple[Array, Array, Array]:
        """Return (mean, standard error, number of values), each of the trailing shape; NaN where undefined."""
        if self._open is None or self._shift is None:
            raise ValueError("nothing was added")
        parts = self._open[1:]
        self._open = None
        self._close(*(part[None] for part in parts))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self._sum / self._count
            if self._design == "stratified":
                single = self._single[0] * self._single[2] / (self._single[0] - 1)
                single = np.where(self._single[0] > 1, single, np.where(self._single[0] == 1, np.nan, 0.0))
                variance = (
                    self._within + np.where(np.isnan(single) & (self._within > 0), 0.0, single)
                ) / self._count**2
            else:
                scatter = self._sum_squares - 2 * mean * self._sum_products + mean**2 * self._count_squares
                variance = np.maximum(scatter, 0) * self._groups / (self._groups - 1) / self._count**2
            error = np.where(self._count > 1, np.sqrt(variance), np.nan)
        return mean + self._shift, error, self._count

    def _begin(self, values: Array) -> Array:
        """Make the totals, and return the shift that keeps sums of squares exact: the first chunk's mean."""
        shape = values.shape[1:]
        valid = ~np.isnan(values)
        total = np.where(valid, values, 0.0).sum(0)
        self._count, self._sum = np.zeros(shape), np.zeros(shape)
        self._within = np.zeros(shape)
        self._single = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._groups, self._sum_squares = np.zeros(shape), np.zeros(shape)
        self._sum_products, self._count_squares = np.zeros(shape), np.zeros(shape)
        return np.nan_to_num(total / np.maximum(valid.sum(0), 1), posinf=0.0, neginf=0.0)

    def _close(self, count: Array, mean: Array, squares: Array) -> None:
        """Fold finished groups (G, ...) into the totals."""
        if not len(count):
            return
        total = count * mean
        self._count = self._count + count.sum(0)
        self._sum = self._sum + total.sum(0)
        if self._design == "stratified":
            self._within = self._within + np.where(count > 1, squares * count / np.maximum(count - 1, 1), 0.0).sum(0)
            one = count == 1
            ones = one.sum(0).astype(np.float64)
            centre = np.where(one, mean, 0.0).sum(0) / np.maximum(ones, 1)
            around = np.where(one, (mean - centre) ** 2, 0.0).sum(0)
            self._single = _merge(self._single, (ones, centre, around))
        else:
            self._groups = self._groups + (count > 0).sum(0)
            self._sum_squares = self._sum_squares + (total**2).sum(0)
            self._sum_products = self._sum_products + (total * count).sum(0)
            self._count_squares = self._count_squares + (count**2).sum(0)


def _merge(a: Any, b: Any) -> tuple[Array, Array, Array]:
    """Merge two (count, mean, sum of squared deviations), as Chan, Golub and LeVeque do."""
    count = a[0] + b[0]
    some = np.maximum(count, 1)
    delta = b[1] - a[1]
    return count, a[1] + delta * b[0] / some, a[2] + b[2] + delta**2 * a[0] * b[0] / some
