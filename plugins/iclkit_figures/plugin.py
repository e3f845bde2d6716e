"""The built-in figures."""

from collections.abc import Iterator

from iclkit.api import FigureSpec, hookimpl


@hookimpl
def iclkit_figures() -> Iterator[FigureSpec]:
    """Yield the built-in figures."""
    yield FigureSpec(
        name="icl-curve",
        summary="Loss against position, one line per snapshot, with the exact optimum under it.",
        needs=("loss", "floor"),
        draw="iclkit_figures.icl_curve:draw",
    )
    yield FigureSpec(
        name="training",
        summary="Excess over the exact optimum against tokens seen, one line per group of positions.",
        needs=("excess",),
        draw="iclkit_figures.training:draw",
    )
