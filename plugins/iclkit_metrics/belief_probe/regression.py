"""Linear regression with held-out R^2 from sums of products, so that memory does not grow with the data."""

from typing import Self

import torch
from torch import Tensor


class Moments:
    """Sums of products of features x (C,) and targets y (S,), float64, of which any number of rows are added.

    They are of x and y less the first row's, so that a large common offset costs no digits.
    """

    def __init__(self) -> None:
        self.count = 0
        self._joint: Tensor | None = None
        self._shift: Tensor | None = None
        self.width = 0

    def add(self, x: Tensor, y: Tensor) -> Self:
        """Add rows x (n, C), y (n, S); rows with a value that is not finite are left out."""
        rows = torch.cat([x.double(), y.double()], dim=1)
        rows = rows[rows.isfinite().all(1)]
        if len(rows):
            self.width = x.shape[1]
            self._shift = rows[0].clone() if self._shift is None else self._shift
            one = torch.cat([torch.ones_like(rows[:, :1]), rows - self._shift], dim=1)
            product = one.mT @ one
            self._joint = product if self._joint is None else self._joint + product
            self.count += len(rows)
        return self

    def mean(self) -> Tensor:
        """Return the mean of x and y, (C + S,)."""
        assert self._joint is not None
        assert self._shift is not None
        return self._shift + self._joint[0, 1:] / self.count

    def covariance(self) -> Tensor:
        """Return the covariance of x and y, (C + S, C + S)."""
        assert self._joint is not None
        mean = self._joint[0, 1:] / self.count
        return self._joint[1:, 1:] / self.count - mean[:, None] * mean


class LinearProbe:
    """The ridge regression of y on x, with an intercept.

    Parameters
    ----------
    moments : of the rows to fit.
    ridge : the penalty on squared coefficients, in units of the features' mean variance. Features that do not vary
        get the coefficient 0.

    """

    def __init__(self, moments: Moments, ridge: float):
        width = moments.width
        covariance = moments.covariance()
        within, across = covariance[:width, :width], covariance[:width, width:]
        values, vectors = torch.linalg.eigh(within)
        values = values.clamp(min=0)
        kept = values > values[-1] * 1e-12
        inverse = torch.where(kept, 1 / (values + ridge * within.diagonal().mean()).clamp(min=1e-300), 0.0)
        self.coefficients = vectors @ (inverse[:, None] * (vectors.mT @ across))  # (C, S)
        mean = moments.mean()
        self.intercept = mean[width:] - mean[:width] @ self.coefficients

    def __call__(self, x: Tensor) -> Tensor:
        """Return the prediction of y, float64 (..., S)."""
        return x.double() @ self.coefficients + self.intercept

    def r2(self, moments: Moments) -> float:
        """Return 1 - E|y - prediction|^2 / E|y - mean y|^2 on other rows, summed over targets; NaN if y is constant."""
        width, mean = moments.width, moments.mean()
        covariance = moments.covariance()
        total = covariance[width:, width:].trace()
        weights = torch.cat([-self.coefficients, torch.eye(len(self.intercept), dtype=torch.float64)])  # y - W' x
        bias = mean[width:] - self(mean[:width])
        left = (weights.mT @ covariance @ weights).trace() + bias.square().sum()
        return float(1 - left / total) if total > 1e-24 else float("nan")
