"""The convex weights over named predictors that best explain a model."""

from attrs import frozen

from iclkit.api import Categorical, MetricSpec, Variable, option
from iclkit_metrics.dims import STEP_SPLIT

WEIGHTS = ("step", "split", "predictor")


@frozen(kw_only=True)
class AlgorithmMixture:
    """Exact references and naive predictors, all that exist or those named."""

    predictors: tuple[str, ...] | None = option(
        "predictors to mix; all exact and naive ones if absent",
        default=None,
        sample=["uniform", "static-unigram", "static-bigram", "context-bigram", "mixture"],
    )
    splits: tuple[str, ...] | None = option("splits to look at; all if absent", default=None, sample=["topics"])
    sequences: int = option("sequences of a split, at most", default=32, at_least=1)
    snapshots: int = option("snapshots to look at, at most; the last is one of them", default=20, at_least=1)


SPEC = MetricSpec(
    name="algorithm-mixture",
    summary="The convex mixture of named predictors that best explains the model at each snapshot.",
    config=AlgorithmMixture,
    build="iclkit_metrics.algorithm_mixture.metric:AlgorithmMixture",
    variables=(
        Variable(name="algorithm_weight", dims=WEIGHTS, long_name="weight of a named predictor", units="1"),
        Variable(
            name="algorithm_identified",
            dims=("split", "predictor"),
            long_name="1 where the data tell a weight at every step, 0 where another choice explains as much",
            units="1",
        ),
        Variable(name="algorithm_kl", dims=WEIGHTS, long_name="mean KL divergence from the model to a predictor alone"),
        Variable(
            name="algorithm_residual",
            dims=STEP_SPLIT,
            long_name="mean KL divergence from the model to the best mixture",
        ),
    ),
    applies=lambda facts: isinstance(facts.space, Categorical),
)
