"""The built-in metrics. Light: what computes is imported when a metric is built."""

from collections.abc import Iterator

from iclkit.api import MetricSpec, hookimpl
from iclkit_metrics.algorithm_mixture import spec as algorithm_mixture
from iclkit_metrics.belief_probe import spec as belief_probe
from iclkit_metrics.calibration import spec as calibration
from iclkit_metrics.diagnosis import spec as diagnosis
from iclkit_metrics.divergence import spec as divergence
from iclkit_metrics.emergence import spec as emergence
from iclkit_metrics.flatness import spec as flatness
from iclkit_metrics.icl_accuracy import spec as icl_accuracy
from iclkit_metrics.icl_score import spec as icl_score
from iclkit_metrics.induction_heads import spec as induction_heads
from iclkit_metrics.loss import spec as loss
from iclkit_metrics.occurrence import spec as occurrence
from iclkit_metrics.option_accuracy import spec as option_accuracy
from iclkit_metrics.power_law import spec as power_law
from iclkit_metrics.squared_error import spec as squared_error

METRICS = (
    loss,
    divergence,
    calibration,
    icl_score,
    power_law,
    occurrence,
    squared_error,
    icl_accuracy,
    option_accuracy,
    induction_heads,
    belief_probe,
    emergence,
    algorithm_mixture,
    flatness,
    diagnosis,
)


@hookimpl
def iclkit_metrics() -> Iterator[MetricSpec]:
    """Yield the metrics."""
    for metric in METRICS:
        yield metric.SPEC
