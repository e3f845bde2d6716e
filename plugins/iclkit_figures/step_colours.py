"""Colours of lines that are training steps, and the bar that tells them."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from iclkit_figures import style
from iclkit_figures.panels import Panels


def step_scale(panels: Panels) -> ScalarMappable:
    """Return the colours of all steps up to the last."""
    return ScalarMappable(norm=style.step_norm(_last(panels)), cmap=style.step_colours())


def step_bar(made: Figure, axes: Sequence[Axes], colours: ScalarMappable, panels: Panels) -> None:
    """Tell the colours in a bar beside the panels; nothing where there is one step."""
    if len(panels.panels[0].data["step"]) < 2:
        return
    ticks = style.step_ticks(_last(panels))
    bar = made.colorbar(colours, ax=axes, pad=0.02, aspect=28, fraction=0.06, ticks=ticks)
    bar.set_label("training step")
    bar.ax.set_yticklabels([str(tick) for tick in ticks])
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)


def _last(panels: Panels) -> float:
    return max(float(panel.data["step"].values[-1]) for panel in panels.panels)
