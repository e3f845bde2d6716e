"""The built-in metrics."""

from collections.abc import Iterator

from attrs import frozen

from iclkit.api import MetricSpec, Real, Variable, hookimpl

_POSITIONS = ("step", "split", "position")
_REFERENCES = ("reference", "split", "position")


@frozen(kw_only=True)
class Loss:
    """No settings: the loss is what it is."""


@frozen(kw_only=True)
class SquaredError:
    """No settings: the error of the mean, summed over dimensions."""


@hookimpl
def iclkit_metrics() -> Iterator[MetricSpec]:
    """Yield the built-in metrics."""
    yield MetricSpec(
        name="loss",
        summary="The loss at every position, its floor and optimum, and the model's excess over them.",
        config=Loss,
        build="iclkit_metrics.loss:Loss",
        variables=(
            Variable(name="loss", dims=_POSITIONS, long_name="negative log-likelihood per token"),
            Variable(name="excess", dims=_POSITIONS, long_name="loss above the optimum of the split"),
            Variable(name="regret", dims=_POSITIONS, long_name="loss above the oracle"),
            Variable(name="floor", dims=_REFERENCES, long_name="loss of an exact reference on the same tokens"),
            Variable(
                name="impossible",
                dims=_REFERENCES,
                long_name="share of sequences that a reference rules out",
                units="1",
            ),
            Variable(name="optimum", dims=_REFERENCES, long_name="exact expected loss of a reference"),
            Variable(name="optimum_error", dims=_REFERENCES, long_name="bound on the error of optimum"),
            Variable(name="excess_kind", dims=("split",), long_name="how excess was measured", units=""),
            Variable(name="excess_reference", dims=("split",), long_name="what excess is measured from", units=""),
        ),
        sentence="iclkit_metrics.loss_sentence:sentence",
        default=True,
    )
    yield MetricSpec(
        name="squared-error",
        summary="Squared error of the predicted mean of real tokens, its floor, and the model's excess over it.",
        config=SquaredError,
        build="iclkit_metrics.squared_error:SquaredError",
        variables=(
            Variable(
                name="squared_error",
                dims=_POSITIONS,
                long_name="squared error per token, summed over dimensions",
                units="1",
            ),
            Variable(
                name="squared_error_excess",
                dims=_POSITIONS,
                long_name="squared error above the optimum of the split",
                units="1",
            ),
            Variable(
                name="squared_error_floor",
                dims=_REFERENCES,
                long_name="squared error of an exact reference on the same tokens",
                units="1",
            ),
        ),
        applies=lambda facts: isinstance(facts.space, Real),
        default=True,
    )
