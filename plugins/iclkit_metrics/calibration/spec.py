"""Reliability of the predictive distribution, and its entropy against the exact one."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

from attrs import frozen

from iclkit.api import MetricSpec, Variable, option
from iclkit_metrics.dims import STEPS

BINS = ("step", "split", "bin")


@frozen(kw_only=True)
class Calibration:
    """Which predictions are checked, and how confidence is binned."""

    tokens: Literal["likeliest", "all"] = option(
        "whether the likeliest token alone is checked at a position, or every token of the vocabulary",
        default="likeliest",
    )
    bins: int = option("bins of equal width between confidence 0 and 1", default=10, at_least=1)
    edges: tuple[float, ...] = option(
        "edges of the bins from 0 to 1, ascending, in place of equal widths",
        default=(),
        at_least=0,
        at_most=1,
        sample=(0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0),
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the edges."""
        edges = self.edges
        if edges and (edges[0] != 0 or edges[-1] != 1 or any(low >= high for low, high in pairwise(edges))):
            yield "edges", "expected ascending numbers from 0.0 to 1.0"


SPEC = MetricSpec(
    name="calibration",
    summary="Reliability of the model's confidence, its calibration error, and its entropy against the exact one.",
    config=Calibration,
    build="iclkit_metrics.calibration.metric:Calibration",
    variables=(
        Variable(name="predictive_entropy", dims=STEPS, long_name="entropy of the predictive distribution"),
        Variable(
            name="entropy_excess", dims=STEPS, long_name="predictive entropy above that of the optimum of the split"
        ),
        Variable(name="calibration_share", dims=BINS, long_name="predictions in a bin per position", units="1"),
        Variable(
            name="calibration_mass", dims=BINS, long_name="mean confidence in a bin times the bin's share", units="1"
        ),
        Variable(
            name="calibration_gap",
            dims=BINS,
            long_name="accuracy less confidence in a bin, times the bin's share",
            units="1",
        ),
        Variable(name="calibration_confidence", dims=BINS, long_name="mean confidence in a bin", units="1"),
        Variable(name="calibration_accuracy", dims=BINS, long_name="share of hits in a bin", units="1"),
        Variable(name="calibration_error", dims=("step", "split"), long_name="expected calibration error", units="1"),
        Variable(
            name="calibration_noise",
            dims=("step", "split"),
            long_name="calibration error that sampling noise alone would show",
            units="1",
        ),
    ),
)
