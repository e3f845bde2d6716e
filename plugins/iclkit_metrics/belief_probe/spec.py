"""Linear probes of the source's belief state and of the topic posterior."""

from attrs import frozen

from iclkit.api import MetricSpec, Variable, option

R2 = ("step", "layer", "target")


@frozen(kw_only=True)
class BeliefProbe:
    """A linear map from activations to beliefs, fitted on half of some sequences and tested on the other half."""

    split: str | None = option(
        "split whose sequences are used; by default sequences, or topics", default=None, sample="topics"
    )
    sequences: int = option("sequences, at most", default=1024, at_least=4)
    ridge: float = option("penalty, in units of the activations' mean variance", default=1e-6, at_least=0)
    points: int = option("beliefs whose projections are kept for plotting, at most", default=512, at_least=0)
    topics: int = option("known topics, at most, beyond which there is no posterior probe", default=64, at_least=2)
    snapshots: int = option("snapshots to look at, at most; the last is one of them", default=20, at_least=1)


SPEC = MetricSpec(
    name="belief-probe",
    summary="Linear regression from each layer to the exact belief state and topic posterior.",
    config=BeliefProbe,
    build="iclkit_metrics.belief_probe.metric:BeliefProbe",
    variables=(
        Variable(
            name="belief_r2",
            dims=R2,
            long_name="share of the variance of beliefs that a linear map of activations explains, held-out sequences",
            units="1",
        ),
        Variable(name="belief_r2_shuffled", dims=R2, long_name="the same with beliefs shuffled", units="1"),
        Variable(
            name="belief_projection",
            dims=("layer", "point", "state"),
            long_name="belief that the last step's probe reads, held-out sequences",
            units="1",
        ),
        Variable(name="belief", dims=("point", "state"), long_name="exact belief at these points", units="1"),
    ),
)
