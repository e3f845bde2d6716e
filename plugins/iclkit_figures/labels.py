"""Labels written beside the lines they name, where they cover nothing."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

# offset in points, horizontal and vertical alignment: close to the line first, then further off with a leader
_SPOTS = [
    ((0, -2.5), "center", "top"),
    ((0, 2.5), "center", "bottom"),
    *(
        ((dx * far, dy * far), across, "top" if dy < 0 else "bottom")
        for far in (10, 16, 22, 30, 40)
        for dy in (-1, 1)
        for dx, across in ((-0.7, "right"), (0, "center"), (0.7, "left"))
    ),
]
_ANCHORS = np.linspace(0.06, 0.94, 40)


def beside(figure: Figure, axes: Axes, lines: Sequence[Line2D]) -> None:
    """Write each line's label beside it, in the line's colour, at the spot that covers least of the panel."""
    figure.draw_without_rendering()  # so that sizes are known
    inked = np.concatenate([_points(axes, line) for line in axes.get_lines()])
    taken: list[Bbox] = []
    for line in lines:
        placed = _best(axes, line, inked, taken)
        if placed is not None:
            taken.append(placed)


def _best(axes: Axes, line: Line2D, inked: np.ndarray, taken: Sequence[Bbox]) -> Bbox | None:
    own = _points(axes, line)
    if not len(own):
        return None
    pixels = axes.figure.dpi / 72
    middle = tuple(axes.transData.inverted().transform(np.mean([axes.bbox.min, axes.bbox.max], axis=0)))
    text = axes.annotate(
        str(line.get_label()), middle, (0, 0), textcoords="offset points", fontsize=7, color=line.get_color()
    )
    text.set_in_layout(False)
    extent = text.get_window_extent()
    frame = axes.bbox
    best: tuple[float, int, int, Bbox] | None = None
    for anchor in np.unique((_ANCHORS * (len(own) - 1)).round().astype(int)):
        for spot, ((dx, dy), across, along) in enumerate(_SPOTS):
            x, y = own[anchor] + np.array([dx, dy]) * pixels
            left = x - extent.width * {"left": 0, "center": 0.5, "right": 1}[across]
            bottom = y - extent.height * {"bottom": 0, "top": 1}[along]
            box = Bbox.from_bounds(left, bottom, extent.width, extent.height)
            if box.x0 < frame.x0 + 6 or box.x1 > frame.x1 - 6 or box.y0 < frame.y0 + 2 or box.y1 > frame.y1 - 1:
                continue
            cost = _covered(box.padded(1.5 * pixels), inked) + 0.4 * float(np.hypot(dx, dy))
            cost += sum(1000 for other in taken if box.padded(2 * pixels).overlaps(other))
            cost += _crossed(own[anchor], np.array([x, y]), inked, 3 * pixels) if spot > 1 else 0
            if best is None or cost < best[0]:
                best = cost, int(anchor), spot, box
    if best is None:
        text.remove()
        return None
    offset, across, along = _SPOTS[best[2]]
    text.xy = tuple(axes.transData.inverted().transform(own[best[1]]))
    text.set_position(offset)
    text.set(horizontalalignment=across, verticalalignment=along)
    if best[2] > 1:
        axes.annotate(
            "",
            text.xy,
            tuple(np.array(offset) * 0.97),
            textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.5, "shrinkA": 0, "shrinkB": 1},
        ).set_in_layout(False)
    return best[3]


def _covered(box: Bbox, inked: np.ndarray) -> float:
    inside = (inked >= box.min).all(1) & (inked <= box.max).all(1)
    return 10.0 * float(inside.sum())


def _crossed(start: np.ndarray, end: np.ndarray, inked: np.ndarray, near: float) -> float:
    """Cost of a leader that runs through other lines than the one it starts at."""
    leader = start + np.linspace(0.4, 1, 8)[:, None] * (end - start)
    return 5.0 * float((np.abs(leader[:, None] - inked).max(-1) < near).any(1).sum())


def _points(axes: Axes, line: Line2D) -> np.ndarray:
    """Return pixels along a line, densely, (n, 2)."""
    corners = line.get_transform().transform(np.asarray(line.get_xydata(), dtype=float))
    corners = corners[np.isfinite(corners).all(1)]
    if len(corners) < 2:
        return corners
    along = np.concatenate([[0.0], np.hypot(*np.diff(corners, axis=0).T).cumsum()])
    even = np.arange(0.0, along[-1] + 3, 3)
    return np.stack([np.interp(even, along, corners[:, axis]) for axis in (0, 1)], axis=1)
