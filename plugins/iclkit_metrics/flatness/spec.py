"""The loss under Gaussian weight noise."""

from attrs import frozen

from iclkit.api import MetricSpec, Variable, option

SCALES = ("step", "scale")


@frozen(kw_only=True)
class Flatness:
    """Independent Gaussian noise on every weight, of given deviations."""

    scales: tuple[float, ...] = option("deviations of the noise", default=(0.01, 0.03, 0.1), above=0)
    relative: bool = option(
        "scales are in units of each weight tensor's own root mean square; else absolute", default=True
    )
    replicates: int = option("draws of the noise, each with both signs", default=8, at_least=2)
    split: str | None = option(
        "split whose loss is measured; train if there is one, or topics", default=None, sample="topics"
    )
    sequences: int = option("sequences, at most", default=128, at_least=1)
    snapshots: int = option("snapshots to look at, at most; the last is one of them", default=10, at_least=1)


SPEC = MetricSpec(
    name="flatness",
    summary="Expected rise of the loss under Gaussian weight noise of given scales.",
    config=Flatness,
    build="iclkit_metrics.flatness.metric:Flatness",
    variables=(
        Variable(name="flatness", dims=SCALES, long_name="rise of the loss under weight noise, per token"),
        Variable(name="flatness_loss", dims=("step",), long_name="loss without noise on the same sequences"),
    ),
)
