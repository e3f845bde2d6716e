"""KL divergence from each reference, and the nearest named predictor."""

from attrs import frozen

from iclkit.api import MetricSpec, Variable, option


@frozen(kw_only=True)
class Divergence:
    """Which predictors the model is compared with."""

    largest_vocabulary: int = option(
        "vocabulary up to which naive predictors are compared; they need memory in proportion", default=256, at_least=0
    )


SPEC = MetricSpec(
    name="divergence",
    summary="KL divergence from each exact reference by position, and the nearest of the named predictors.",
    config=Divergence,
    build="iclkit_metrics.divergence.metric:Divergence",
    variables=(
        Variable(
            name="kl",
            dims=("step", "reference", "split", "position"),
            long_name="mean KL divergence from a reference to the model",
        ),
        Variable(
            name="distance",
            dims=("step", "predictor", "split"),
            long_name="mean squared Hellinger distance between the model and a predictor",
            units="1",
        ),
        Variable(name="nearest", dims=("step", "split"), long_name="predictor of the least distance", units=""),
    ),
)
