"""Late minus early loss, area of loss reduction, loss and cost of each topic, topics outside the ensemble."""

from collections.abc import Iterator

from attrs import frozen

from iclkit.api import MetricSpec, SourceComponent, Variable, option
from iclkit_metrics.dims import STEP_SPLIT

OUTSIDE = ("outside_topic", "position")


@frozen(kw_only=True)
class IclScore:
    """Which positions are early and late, how many topics are told apart, and what lies outside the ensemble."""

    early: tuple[int, ...] = option(
        "first and last position of the early window; the first tenth of what is scored if absent",
        default=(),
        at_least=1,
        sample=(50, 50),
    )
    late: tuple[int, ...] = option(
        "first and last position of the late window; the last tenth of what is scored if absent",
        default=(),
        at_least=1,
        sample=(500, 500),
    )
    topics: int = option("topics at most whose loss is told apart", default=20, at_least=0)
    outside: SourceComponent | None = option(
        "a source of topics outside the ensemble, on which the model is measured too",
        default=None,
        sample={"kind": "coins", "biases": [0.5]},
    )
    outside_topics: int = option("topics of that source, if they are drawn", default=8, at_least=1)
    outside_sequences: int = option("sequences of each of them", default=128, at_least=2)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the windows."""
        for key in ("early", "late"):
            window = getattr(self, key)
            if window and (len(window) != 2 or window[0] > window[1]):
                yield key, "expected the first and the last position of the window, such as [1, 4]"


SPEC = MetricSpec(
    name="icl-score",
    summary="Late minus early loss, area of loss reduction, loss and cost of each topic, topics outside the ensemble.",
    config=IclScore,
    build="iclkit_metrics.icl_score.metric:IclScore",
    variables=(
        Variable(name="icl_score", dims=STEP_SPLIT, long_name="late minus early loss"),
        Variable(name="icl_score_floor", dims=("reference", "split"), long_name="late minus early loss of a reference"),
        Variable(name="loss_area", dims=STEP_SPLIT, long_name="sum over positions of the loss above the last"),
        Variable(
            name="loss_area_floor",
            dims=("reference", "split"),
            long_name="sum over positions of a reference's loss above its last",
        ),
        Variable(name="loss_area_optimum", dims=("split",), long_name="exact area of loss reduction of the optimum"),
        Variable(
            name="excess_entropy",
            dims=("split",),
            long_name="sum over positions of the exact optimum above the entropy rate",
        ),
        Variable(
            name="topic_loss", dims=("step", "split", "topic", "position"), long_name="loss on one topic's sequences"
        ),
        Variable(
            name="topic_cost",
            dims=("step", "split", "topic"),
            long_name="loss above the oracle over the whole context, on one topic's sequences",
        ),
        Variable(
            name="topic_cost_optimum",
            dims=("split", "topic"),
            long_name="what the optimum of the split pays for a topic over the whole context",
        ),
        Variable(name="topic_cost_limit", dims=("topic",), long_name="- ln of the topic's weight"),
        Variable(name="outside_loss", dims=("step", *OUTSIDE), long_name="loss on a topic outside the ensemble"),
        Variable(
            name="outside_floor", dims=OUTSIDE, long_name="loss of what knows that outside topic, on the same tokens"
        ),
        Variable(
            name="outside_optimum",
            dims=OUTSIDE,
            long_name="loss of the ensemble's optimum on that outside topic, on the same tokens",
        ),
        Variable(
            name="outside_limit",
            dims=("outside_topic",),
            long_name="loss of the ensemble's nearest topic on that outside topic",
        ),
    ),
)
