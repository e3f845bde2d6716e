"""Wilson's interval of a share."""

import numpy as np

_Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % interval of a binomial probability (Wilson 1927, eq. 5), from a share of `count`."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * np.sqrt(share * (1 - share) / count + (_Z / (2 * count)) ** 2)
    return np.where(np.isnan(share), np.nan, middle - half), np.where(np.isnan(share), np.nan, middle + half)
