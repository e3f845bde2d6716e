"""Loss, floor, optimum, excess and regret."""

from attrs import frozen

from iclkit.api import MetricSpec, Variable
from iclkit_metrics.dims import REFERENCES, STEPS

FIRST_POSITIONS = (1, 2)
AVERAGES = ("step", "split", "first_position")


@frozen(kw_only=True)
class Loss:
    """No settings: the loss is what it is."""


SPEC = MetricSpec(
    name="loss",
    summary="Loss at every position, its floor and optimum, excess over them, and the gaps of generalisation.",
    config=Loss,
    build="iclkit_metrics.loss.metric:Loss",
    variables=(
        Variable(name="loss", dims=STEPS, long_name="negative log-likelihood per token"),
        Variable(name="excess", dims=STEPS, long_name="loss above the optimum of the split"),
        Variable(name="regret", dims=STEPS, long_name="loss above the oracle"),
        Variable(name="relative_loss", dims=STEPS, long_name="loss relative to the floor of the optimum", units="1"),
        Variable(name="log_ratio", dims=AVERAGES, long_name="mean log-ratio of the oracle to the model"),
        Variable(name="oracle_kl", dims=AVERAGES, long_name="mean KL divergence from the oracle to the model"),
        Variable(
            name="sequence_gap",
            dims=("step", "first_position"),
            long_name="oracle_kl on new sequences less log_ratio on train",
        ),
        Variable(
            name="topic_gap",
            dims=("step", "first_position"),
            long_name="oracle_kl on new topics less oracle_kl on new sequences",
        ),
        Variable(name="floor", dims=REFERENCES, long_name="loss of an exact reference on the same tokens"),
        Variable(
            name="impossible",
            dims=REFERENCES,
            long_name="share of sequences that a reference rules out",
            units="1",
        ),
        Variable(name="optimum", dims=REFERENCES, long_name="exact expected loss of a reference"),
        Variable(name="optimum_error", dims=REFERENCES, long_name="bound on the error of optimum"),
        Variable(name="excess_kind", dims=("split",), long_name="how excess was measured", units=""),
        Variable(name="excess_reference", dims=("split",), long_name="what excess is measured from", units=""),
    ),
    sentence="iclkit_metrics.loss.sentence:sentence",
    default=True,
)
