"""How the figures look: sizes for a paper's column, fonts, colours that colour-blind readers tell apart."""

import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import Colormap, FuncNorm, LinearSegmentedColormap
from matplotlib.figure import Figure

COLUMN, TEXT_WIDTH = 3.5, 7.0  # inches: one column of a two-column paper, and both
INK, GREY = "#111111", "#6f6f6f"
NOTE_SIZE = 6.0  # points

_RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "figure.titlesize": 8,
    "figure.titleweight": "bold",
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.title_fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#444444",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.0,
    "text.usetex": False,
    "mathtext.default": "regular",
    "savefig.dpi": "figure",
    "savefig.bbox": None,
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
    "svg.hashsalt": "iclkit",
}
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}


def style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws in the house style; what was set before holds again after it."""
    return matplotlib.rc_context(_RC)


class PaperFigure(Figure):
    """A figure that is drawn in the house style whenever it is drawn, and saved to the same bytes every time.

    Matplotlib makes ticks and chooses font formats only when it draws, after the figure's maker has returned.
    """

    def draw(self, renderer: Any) -> None:
        """Draw in the house style."""
        with style():
            super().draw(renderer)

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save in the house style, without the time and the version of matplotlib."""
        suffix = options.get("format") or str(getattr(fname, "suffix", fname)).rpartition(".")[2]
        options.setdefault("metadata", _METADATA.get(str(suffix)))
        with style():
            super().savefig(fname, **options)


def figure(width: float, height: float) -> PaperFigure:
    """Return an empty figure of a size in inches, with room for a note below."""
    return PaperFigure(figsize=(width, height), dpi=200, layout="constrained")


def annotate(made: Figure, title: str | None, notes: Sequence[str]) -> None:
    """Put a title over a figure and small notes under it."""
    width, height = made.get_size_inches()
    if title:
        made.suptitle(textwrap.shorten(title, int(13 * width), placeholder=" …"), x=0.1 / width, ha="left")
    lines = textwrap.wrap("; ".join(note for note in notes if note), int(21 * width))
    below = (0.05 + 0.115 * len(lines)) / height if lines else 0.0
    made.get_layout_engine().set(w_pad=0.03, h_pad=0.03, rect=(0, below, 1, 1 - below))  # type: ignore[union-attr, call-arg]
    if lines:
        made.text(
            0.1 / width, 0.03 / height, "\n".join(lines), va="bottom", fontsize=NOTE_SIZE, color=GREY
        ).set_in_layout(False)


def step_norm(last: float) -> FuncNorm:
    """Return a colour scale for training steps: logarithmic, with a place for step 0."""
    return FuncNorm((np.log1p, np.expm1), vmin=0, vmax=max(last, 1.0))


def step_ticks(last: float) -> list[int]:
    """Return 0 and the powers of ten up to the last step, then the last step unless a power is close to it."""
    last = max(round(last), 1)
    ticks = [0, *(10**power for power in range(len(str(last))))]
    if last > 2 * ticks[-1]:
        ticks.append(last)
    return ticks


def step_colours() -> Colormap:
    """Dark blue for the first steps to orange for the last, on which black dashes still show."""
    return _part("plasma", 0.0, 0.78)


def position_colours() -> Colormap:
    """Dark for the first positions to light green for the last."""
    return _part("viridis", 0.0, 0.88)


def _part(name: str, first: float, last: float) -> Colormap:
    whole = matplotlib.colormaps[name]
    return LinearSegmentedColormap.from_list(f"iclkit_{name}", whole(np.linspace(first, last, 256)))
