"""Power laws y = c l^-a on a range of positions: by least squares of ln y on ln l, against exponential decay.

Arrays are NumPy float64; curves may have leading dimensions, all are fitted together.
"""

import math

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Array = NDArray[np.float64]

_FEWEST = 3  # positions that a fit needs
_ROUNDS = 3  # in which weights follow the fitted curve
_LEAST_SCATTER = 1e-24  # variance of a logarithm, so that an exact fit has a likelihood


@frozen(kw_only=True, eq=False)
class PowerLaw:
    """A fit y = coefficient * l^-exponent.

    Parameters
    ----------
    exponent, coefficient : of the curve; the coefficient in its unit.
    exponent_interval, coefficient_interval : (low, high) by bootstrap; NaN without bootstrap curves.
    positions : int64 array (n,), where the curve is positive within the range: what was fitted.
    dropped : how many positions of the range were left out, their values not being positive.
    weights : float64 array (n,), those of the fit; give them to `fit` to see an exact curve in the same light.
    advantage : mean held-out log-likelihood of ln y under the power law less that under exponential decay, nats per
        position; positive where the power law predicts better.
    preferred : the share of bootstrap draws whose advantage is positive; NaN without them.

    """

    exponent: float
    coefficient: float
    exponent_interval: tuple[float, float]
    coefficient_interval: tuple[float, float]
    positions: NDArray[np.int64]
    dropped: int
    weights: Array
    advantage: float
    preferred: float


def power_law(
    positions: NDArray[np.int64],
    values: Array,
    errors: Array | None = None,
    resampled: Array | None = None,
    bounds: tuple[float, float] | None = None,
    level: float = 0.95,
) -> PowerLaw:
    """Fit a curve on a declared range.

    Parameters
    ----------
    positions, values : (T,), the curve.
    errors : (T,), its standard errors; weights are their inverse squares relative to the fitted curve.
    resampled : (D, T), bootstrap curves; whole ones, as errors may be correlated over positions.
    bounds : first and last position of the fit; 8 and T / 2 if absent.
    level : of the bootstrap intervals (basic: reflected quantiles).

    Raises ValueError where fewer than 3 positions of the range have a positive value.

    """
    low, high = bounds or default_range(int(positions.max()))
    inside = (positions >= low) & (positions <= high)
    used = inside & (values > 0)
    if used.sum() < _FEWEST:
        raise ValueError(
            f"a power law needs {_FEWEST} positions with a positive value; of {inside.sum()} in {low:g} .. {high:g} "
            f"there are {used.sum()}: widen the range"
        )
    where, curve = positions[used].astype(np.float64), values[used]
    scale = None if errors is None or not (errors[used] > 0).all() else errors[used]
    weights = _weights(where, curve, scale)
    exponent, coefficient = fit(where, curve, weights)
    exponents, coefficients, advantages = np.full((3, 1), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):  # too few positive values, of a draw too, are NaN
        advantage = float(held_out_advantage(where, curve, weights))
        if resampled is not None:
            drawn = resampled[:, used]
            shifted = coefficient * where**-exponent + drawn - curve  # about the fitted curve
            exponents, coefficients = fit(where, shifted, np.where(shifted > 0, weights, 0.0))
            # Not about the fitted curve, which is a power law whatever the data.
            advantages = held_out_advantage(where, drawn, np.where(drawn > 0, weights, 0.0))
    logs = _reflected(math.log(coefficient), np.log(coefficients), level)
    return PowerLaw(
        exponent=float(exponent),
        coefficient=float(coefficient),
        exponent_interval=_reflected(float(exponent), exponents, level),
        coefficient_interval=(math.exp(logs[0]), math.exp(logs[1])),
        positions=positions[used],
        dropped=int(inside.sum() - used.sum()),
        weights=weights,
        advantage=advantage,
        preferred=math.nan if resampled is None else float((advantages > 0).mean()),
    )


def default_range(length: int) -> tuple[float, float]:
    """Return the positions 8 .. T / 2: past the first tokens, before the end of the context matters."""
    return 8, length / 2


def fit(positions: Array, values: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Return (exponent, coefficient) of curves (..., n) by weighted least squares of ln y on ln l; weights (..., n).

    Of an exact curve on a range this is its mean slope there, with what a measured curve is compared. Values need only
    be positive where their weight is.
    """
    weights = np.ones_like(values) if weights is None else np.broadcast_to(weights, values.shape)
    level, slope = _line(np.log(positions), _log(values, weights), weights)
    return -slope, np.exp(level)


def held_out_advantage(positions: Array, values: Array, weights: Array | None = None, folds: int = 2) -> Array:
    """Return by how much a power law predicts left-out positions better than c exp(-l / tau), nats per position.

    Every `folds`-th position is left out in turn; ln y is normal about the fitted curve, with a variance proportional
    to 1 / weight, whose size the fitted positions tell. Curves (..., n) with weights (..., n).
    """
    weights = np.ones_like(values) if weights is None else np.broadcast_to(weights, values.shape)
    logs = _log(values, weights)
    turn = np.arange(len(positions)) % min(folds, len(positions))
    total = np.zeros(values.shape[:-1])
    for fold in range(turn.max() + 1):
        kept, left = np.where(turn == fold, 0.0, weights), np.where(turn == fold, weights, 0.0)
        total += _likelihood(np.log(positions), logs, kept, left) - _likelihood(positions, logs, kept, left)
    return total / (weights > 0).sum(-1)


def _likelihood(x: Array, y: Array, kept: Array, left: Array) -> Array:
    """Return the log-likelihood of left-out points about the line through the kept ones, but for what is common."""
    level, slope = _line(x, y, kept)
    squares = (y - level[..., None] - slope[..., None] * x) ** 2
    freedom = np.maximum((kept > 0).sum(-1) - 2, 1)
    scatter = np.maximum((kept * squares).sum(-1) / freedom, _LEAST_SCATTER * kept.max(-1))
    return -0.5 * ((left * squares).sum(-1) / scatter + (left > 0).sum(-1) * np.log(scatter))


def _line(x: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """Return (level at x = 0, slope) by weighted least squares over the last dimension."""
    total = weights.sum(-1, keepdims=True)
    middle, mean = (weights * x).sum(-1, keepdims=True) / total, (weights * y).sum(-1, keepdims=True) / total
    slope = (weights * (x - middle) * (y - mean)).sum(-1) / (weights * (x - middle) ** 2).sum(-1)
    return mean[..., 0] - slope * middle[..., 0], slope


def _log(values: Array, weights: Array) -> Array:
    return np.log(np.where(weights > 0, values, 1.0))


def _weights(positions: Array, curve: Array, errors: Array | None) -> Array:
    """Return 1 / var(ln y), (n,), relative errors being taken of the fitted curve.

    Those of the values themselves would trust a value the more the higher it happens to be.
    """
    if errors is None:
        return np.ones_like(curve)
    fitted = curve
    for _ in range(_ROUNDS):
        weights = (fitted / errors) ** 2
        exponent, coefficient = fit(positions, curve, weights)
        fitted = coefficient * positions**-exponent
    return weights


def _reflected(value: float, drawn: Array, level: float) -> tuple[float, float]:
    """Return the basic bootstrap interval: the drawn deviations on the other side, which takes their bias off."""
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2]) if np.isfinite(drawn).any() else (np.nan,) * 2
    return 2 * value - float(high), 2 * value - float(low)
