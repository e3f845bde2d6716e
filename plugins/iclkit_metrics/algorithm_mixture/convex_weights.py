"""The mixture of named predictors that best explains a model's next-token distributions, with a certificate.

f(w) = mean over positions of D_KL(q, sum_j w_j p_j) is convex in w on the simplex. With m = sum_j w_j p_j its gradient
is -g_j, g_j = mean of sum_v q_v p_jv / m_v, and sum_j w_j g_j = 1, so that f(w) - min f <= max_j g_j - 1 (Cover 1984):
what the fit could still gain is known.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Array = NDArray[np.float64]

_STEPS = 200  # at most; Newton's method takes about ten
_WARM = 5  # multiplicative steps to begin with
_INNER = 500  # of the quadratic problem on the simplex
_FLAT = 1e-7  # curvature, relative to the largest, below which the data do not tell a direction of weights
_CELLS = 1 << 22  # numbers looked at together


@frozen(kw_only=True, eq=False)
class ConvexWeights:
    """A mixture of J named predictors.

    Parameters
    ----------
    names : of the predictors.
    weights : float64 array (J,), summing to 1.
    residual : mean D_KL(model, mixture), nats per position: what no mixture explains.
    gap : how much lower the residual could be at most, nats.
    alone : mean D_KL(model, predictor) of each, (J,); inf where one rules out what the model allows.
    identified : whether the data tell a predictor's weight, bool (J,). False for two that predict alike, or one that is
        a mixture of others: the weights given are then one choice among many of the same residual.
    positions : how many were averaged.

    """

    names: tuple[str, ...]
    weights: Array
    residual: float
    gap: float
    alone: Array
    identified: NDArray[np.bool_]
    positions: int


def convex_weights(model: Array, predictors: Array, names: Sequence[str], tolerance: float = 1e-9) -> ConvexWeights:
    """Find the weights.

    Parameters
    ----------
    model : (n, V), log-probabilities of the model at n positions.
    predictors : (J, n, V), those of the predictors. A position where anything is NaN is left out.
    names : J of them.
    tolerance : the gap to reach, nats.

    Raises ValueError where no position is left, or every predictor rules out a token that the model allows.

    """
    whole = ~(np.isnan(model).any(1) | np.isnan(predictors).any((0, 2)))
    if not whole.any():
        raise ValueError("no position is left: at each a predictor or the model is undefined")
    shown = np.exp(model[whole])
    parts = np.exp(predictors[:, whole])
    if ((parts == 0).all(0) & (shown > 0)).any():
        raise ValueError("every predictor rules out a token that the model allows; add one that does not, as uniform")
    fit = _Mixtures(shown, parts)
    weights = np.full(len(names), 1 / len(names))
    for step in range(_STEPS + 1):
        pull, curvature = fit.derivatives(weights)
        if pull.max() - 1 <= tolerance or step == _STEPS:
            break
        onward = weights * pull  # never raises f (expectation-maximisation), but is slow near the minimum
        if step >= _WARM:
            newton = _newton(weights, pull, curvature)
            onward = fit.better(weights, newton, onward)
        weights = onward / onward.sum()
    return ConvexWeights(
        names=tuple(names),
        weights=weights,
        residual=fit.divergence(weights),
        gap=float(pull.max() - 1),
        alone=np.array([fit.divergence(one) for one in np.eye(len(names))]),
        identified=_identified(curvature),
        positions=int(whole.sum()),
    )


class _Mixtures:
    """Mixtures of predictors (J, n, V) seen from a model (n, V), both as probabilities."""

    def __init__(self, model: Array, parts: Array):
        self._model, self._parts = model, parts
        self._rows = max(1, _CELLS // (parts.shape[0] * parts.shape[2]))
        self._own = float((model * np.log(np.where(model > 0, model, 1.0))).sum())  # minus the entropy

    def divergence(self, weights: Array) -> float:
        """Return the mean D_KL(model, mixture), nats."""
        total = self._own
        with np.errstate(divide="ignore"):
            for model, parts in self._chunks():
                mixed = np.tensordot(weights, parts, 1)
                total -= float((model * np.log(np.where(model > 0, mixed, 1.0))).sum())
        return max(total / len(self._model), 0.0)  # rounding may leave less than nothing

    def derivatives(self, weights: Array) -> tuple[Array, Array]:
        """Return g, minus the gradient, (J,), and the second derivatives, (J, J)."""
        pull, curvature = np.zeros(len(weights)), np.zeros((len(weights),) * 2)
        for model, parts in self._chunks():
            mixed = np.tensordot(weights, parts, 1)
            ratio = parts / np.where(model > 0, mixed, 1.0)  # (J, n, V); where the model has nothing, nothing counts
            pull += (ratio * model).sum((1, 2))
            flat = ratio.reshape(len(weights), -1)
            curvature += (flat * model.ravel()) @ flat.T
        return pull / len(self._model), curvature / len(self._model)

    def better(self, weights: Array, newton: Array, safe: Array) -> Array:
        """Return the first shortened Newton step that is better than the safe step, or the safe step."""
        least = self.divergence(safe / safe.sum())
        tries = (weights + share * (newton - weights) for share in (1.0, 0.5, 0.1))
        return next((tried for tried in tries if self.divergence(tried) < least), safe)

    def _chunks(self) -> Iterator[tuple[Array, Array]]:
        for top in range(0, len(self._model), self._rows):
            yield self._model[top : top + self._rows], self._parts[:, top : top + self._rows]


def _newton(weights: Array, pull: Array, curvature: Array) -> Array:
    """Return where -g d + d H d / 2 is least on the simplex, d = w' - w: projected gradients with momentum."""
    rate = 1 / np.linalg.eigvalsh(curvature)[-1]
    now = ahead = weights
    for step in range(1, _INNER + 1):
        onward = _on_simplex(ahead + rate * (pull - curvature @ (ahead - weights)))
        ahead = onward + (step - 1) / (step + 2) * (onward - now)
        if np.abs(onward - now).max() < 1e-15:
            break
        now = onward
    return now


def _on_simplex(point: Array) -> Array:
    """Return the nearest point of the simplex (Duchi et al., 2008)."""
    ordered = np.sort(point)[::-1]
    excess = (ordered.cumsum() - 1) / np.arange(1, len(point) + 1)
    return np.maximum(point - excess[np.flatnonzero(ordered > excess)[-1]], 0.0)


def _identified(curvature: Array) -> NDArray[np.bool_]:
    """Return which weights are told: those that no flat direction within the simplex moves."""
    count = len(curvature)
    if count == 1:
        return np.ones(1, dtype=np.bool_)
    tangent = np.linalg.qr(np.column_stack([np.ones(count), np.eye(count)[:, 1:]]))[0][:, 1:]  # (J, J - 1), sums are 0
    sizes, directions = np.linalg.eigh(tangent.T @ curvature @ tangent)
    flat = tangent @ directions[:, sizes <= _FLAT * max(np.abs(np.diag(curvature)).max(), 1e-300)]
    return ~(np.abs(flat) > 1e-3).any(1)
