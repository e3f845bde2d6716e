"""Squared error, for real tokens."""

from attrs import frozen

from iclkit.api import MetricSpec, Real, Variable
from iclkit_metrics.dims import REFERENCES, STEPS


@frozen(kw_only=True)
class SquaredError:
    """No settings: the error of the mean, summed over dimensions."""


SPEC = MetricSpec(
    name="squared-error",
    summary="Squared error of the predicted mean of real tokens, its floor, and the model's excess over it.",
    config=SquaredError,
    build="iclkit_metrics.squared_error.metric:SquaredError",
    variables=(
        Variable(
            name="squared_error",
            dims=STEPS,
            long_name="squared error per token, summed over dimensions",
            units="1",
        ),
        Variable(
            name="squared_error_excess",
            dims=STEPS,
            long_name="squared error above the optimum of the split",
            units="1",
        ),
        Variable(
            name="squared_error_distance",
            dims=("step", "reference", "split", "position"),
            long_name="mean squared distance of the predicted mean from a reference's",
            units="1",
        ),
        Variable(
            name="squared_error_floor",
            dims=REFERENCES,
            long_name="squared error of an exact reference on the same tokens",
            units="1",
        ),
    ),
    applies=lambda facts: isinstance(facts.space, Real),
    default=True,
)
