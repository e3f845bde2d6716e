"""Quantiles of Student's t."""

import math


def t_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t with an integer number of degrees of freedom, by bisection.

    P(|t| < T) is a finite sum in the angle atan(T / sqrt(n)) (Abramowitz and Stegun, 26.7.3 and 26.7.4). NaN for no
    degree of freedom.
    """
    if freedom < 1:
        return math.nan
    inside, low, high = abs(2 * probability - 1), 0.0, math.pi / 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _within(middle, freedom) < inside else (low, middle)
    return math.copysign(math.sqrt(freedom) * math.tan(low), probability - 0.5)


def _within(angle: float, freedom: int) -> float:
    """Return P(|t| < sqrt(n) tan(angle))."""
    odd, cosine = freedom % 2, math.cos(angle)
    term = total = cosine if odd else 1.0
    for k in range(2 + odd, freedom, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    if not odd:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0.0))
