"""Streaming means and standard errors in float64: memory does not grow with the number of sequences.

Sequences come in order of their group (topic). NaN values are left out. Values may have any trailing shape.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Reducer:
    """The mean over sequences and its standard error.

    stratified: the groups are given and sequences are sampled in each. The mean is that of the groups' means by
    their weights (by their counts where no weights are given), and only the scatter within groups counts; a group
    with one sequence borrows the scatter pooled over the others. clustered: the groups are the sample, so the
    scatter of their sums counts (the ratio estimator). With one sequence per group, and no weights, both are the
    plain standard error.

    `weights` maps group ids, its indices, to weights: float64 (K,).
    """

    def __init__(self, design: Literal["stratified", "clustered"], weights: NDArray[np.float64] | None = None):
        self._design, self._weights = design, weights
        self._open: tuple[Any, Array, Array, Array] | None = None  # group, count, mean, sum of squared deviations
        self._shift: Array | None = None

    @np.errstate(invalid="ignore")  # where a value is infinite so is the mean, and its error is undefined
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
        ids = groups[starts]
        if self._open is not None and self._open[0] == ids[0]:
            count[0], mean[0], squares[0] = _merge(self._open[1:], (count[0], mean[0], squares[0]))
        elif self._open is not None:
            self._close_open()
        self._close(ids[:-1], count[:-1], mean[:-1], squares[:-1])
        self._open = ids[-1], count[-1], mean[-1], squares[-1]

    @np.errstate(invalid="ignore", divide="ignore")
    def result(self) -> tuple[Array, Array, Array]:
        """Return (mean, standard error, number of values), each of the trailing shape; NaN where undefined."""
        if self._open is None or self._shift is None:
            raise ValueError("nothing was added")
        self._close_open()
        if self._design == "stratified":
            mean, variance = self._sum / self._total, self._stratified() / self._total**2
        else:
            mean = self._sum / self._count
            scatter = self._sum_squares - 2 * mean * self._sum_products + mean**2 * self._count_squares
            variance = np.maximum(scatter, 0) * self._groups / (self._groups - 1) / self._count**2
        error = np.where(self._count > 1, np.sqrt(variance), np.nan)
        return mean + self._shift, error, self._count

    def _stratified(self) -> Array:
        """Return the variance of the weighted sum of group means."""
        pooled = self._squares / self._freedom
        alone = self._single[2] / (self._single[0] - 1)  # nothing but single sequences: their own scatter
        spread = np.where(self._freedom > 0, pooled, alone)
        return self._within + np.where(self._single_weights > 0, self._single_weights * spread, 0.0)

    def _begin(self, values: Array) -> Array:
        """Make the totals, and return the shift that keeps sums of squares exact: the first chunk's mean."""
        zero = np.zeros(values.shape[1:])
        self._count, self._total, self._sum = zero, zero, zero
        self._within, self._squares, self._freedom, self._single_weights = zero, zero, zero, zero
        self._single = zero, zero, zero
        self._groups, self._sum_squares, self._sum_products, self._count_squares = zero, zero, zero, zero
        valid = ~np.isnan(values)
        total = np.where(valid, values, 0.0).sum(0)
        return np.nan_to_num(total / np.maximum(valid.sum(0), 1), posinf=0.0, neginf=0.0)

    def _close_open(self) -> None:
        assert self._open is not None
        group, *parts = self._open
        self._open = None
        self._close(np.array([group]), *(part[None] for part in parts))

    def _close(self, ids: NDArray[np.int64], count: Array, mean: Array, squares: Array) -> None:
        """Fold finished groups, ids (G,) and the rest (G, ...), into the totals."""
        if not len(ids):
            return
        self._count = self._count + count.sum(0)
        if self._design == "clustered":
            total = count * mean
            self._sum = self._sum + total.sum(0)
            self._groups = self._groups + (count > 0).sum(0)
            self._sum_squares = self._sum_squares + (total**2).sum(0)
            self._sum_products = self._sum_products + (total * count).sum(0)
            self._count_squares = self._count_squares + (count**2).sum(0)
            return
        weight = count
        if self._weights is not None:
            given = self._weights[ids].reshape(-1, *[1] * (count.ndim - 1))
            weight = np.where(count > 0, given, 0.0)
        self._total = self._total + weight.sum(0)
        self._sum = self._sum + (weight * mean).sum(0)
        several, one = count > 1, count == 1
        freedom = np.where(several, count - 1, 0.0)
        variance = np.where(several, weight**2 * squares / np.maximum(freedom, 1) / np.maximum(count, 1), 0.0)
        self._within = self._within + variance.sum(0)
        self._squares = self._squares + np.where(several, squares, 0.0).sum(0)
        self._freedom = self._freedom + freedom.sum(0)
        self._single_weights = self._single_weights + np.where(one, weight**2, 0.0).sum(0)
        ones = one.sum(0).astype(np.float64)
        centre = np.where(one, mean, 0.0).sum(0) / np.maximum(ones, 1)
        around = np.where(one, (mean - centre) ** 2, 0.0).sum(0)
        self._single = _merge(self._single, (ones, centre, around))


def _merge(a: Any, b: Any) -> tuple[Array, Array, Array]:
    """Merge two (count, mean, sum of squared deviations), as Chan, Golub and LeVeque do."""
    count = a[0] + b[0]
    some = np.maximum(count, 1)
    delta = b[1] - a[1]
    return count, a[1] + delta * b[0] / some, a[2] + b[2] + delta**2 * a[0] * b[0] / some
