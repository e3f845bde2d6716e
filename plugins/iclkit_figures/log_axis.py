"""A logarithmic y axis that can be read: plain numbers, and ticks of its own where it spans less than a decade."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator


def log_axis(axes: Axes) -> None:
    """Scale the y axis logarithmically."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(_Ticks())
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.yaxis.set_minor_formatter(NullFormatter())
    if np.divide(*axes.get_ylim()[::-1]) < _NARROW:
        axes.yaxis.set_minor_locator(NullLocator())


_NARROW = 8.0  # ratio of the ends below which ticks at 1, 2, 5 are too few
_SHORT = 60.0  # and below which those at powers of ten are


class _Ticks(LogLocator):
    """Ticks at powers of ten, and at round numbers between them where these would be too few."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Return the ticks between two limits."""
        ratio = vmax / vmin if vmin > 0 else np.inf
        if ratio < _NARROW:
            return MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(vmin, vmax)
        if ratio < _SHORT:
            return LogLocator(subs=(1, 2, 5)).tick_values(vmin, vmax)
        return super().tick_values(vmin, vmax)


def plain(value: float, place: int | None) -> str:
    """Return a tick's label: a plain number where that is short."""
    del place
    return f"{value:g}" if value <= 0 or 1e-3 <= value < 1e4 else f"$10^{{{np.log10(value):.0f}}}$"
