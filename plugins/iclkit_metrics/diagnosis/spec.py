"""Failure signatures, told at the end of a run; silent where there is none."""

from attrs import frozen

from iclkit.api import MetricSpec


@frozen(kw_only=True)
class Diagnosis:
    """No settings: it reads what other metrics measured."""


SPEC = MetricSpec(
    name="diagnosis",
    summary="Signs of failure in what the other metrics measured, in words; nothing where there is none.",
    config=Diagnosis,
    build="iclkit_metrics.diagnosis.metric:Diagnosis",
    variables=(),
    sentence="iclkit_metrics.diagnosis.sentence:sentence",
    default=True,
)
