"""A power law in the position, fitted to the in-context loss above the mean entropy rate of the topics."""

from collections.abc import Iterator

from attrs import frozen

from iclkit.api import MetricSpec, Variable, option
from iclkit_metrics.dims import STEP_SPLIT, STEPS


@frozen(kw_only=True)
class PowerLaw:
    """The range of the fit, and the bootstrap."""

    first: int = option("first position of the fit", default=8, at_least=1)
    last: int | None = option(
        "last position of the fit; half the context if absent", default=None, at_least=3, sample=32
    )
    positions: int = option("positions of the fit at most, evenly spaced in ln l", default=24, at_least=3)
    replicates: int = option("bootstrap curves, each over all sequences", default=100, at_least=2)
    level: float = option("of the bootstrap intervals", default=0.95, above=0, below=1)
    parameters: int | None = option(
        "k, how many parameters a topic has, to compare with k / (2 l)", default=None, at_least=1, sample=1
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the range."""
        if self.last is not None and self.last < self.first + 2:
            yield "last", f"expected at least 3 positions: {self.first + 2} or more, got {self.last}"


SPEC = MetricSpec(
    name="power-law",
    summary="Power law of the in-context loss above the entropy rate, beside the exact curve's and exponential decay.",
    config=PowerLaw,
    build="iclkit_metrics.power_law.metric:PowerLaw",
    variables=(
        Variable(name="power_law_curve", dims=STEPS, long_name="loss above the mean entropy rate of the topics"),
        Variable(
            name="power_law_floor",
            dims=("split", "position"),
            long_name="the same of the optimum of the split, on the same tokens",
        ),
        Variable(name="power_law_optimum", dims=("split", "position"), long_name="the same of the optimum, exactly"),
        Variable(
            name="power_law_resampled",
            dims=(*STEP_SPLIT, "replicate", "fit_position"),
            long_name="bootstrap curves, times their weight",
        ),
        Variable(
            name="power_law_weight",
            dims=(*STEP_SPLIT, "replicate"),
            long_name="weight of a bootstrap curve",
            units="1",
        ),
        Variable(name="power_law_exponent", dims=STEP_SPLIT, long_name="exponent a of c l^-a", units="1"),
        Variable(
            name="power_law_exponent_interval",
            dims=(*STEP_SPLIT, "end"),
            long_name="bootstrap interval of the exponent",
            units="1",
        ),
        Variable(name="power_law_coefficient", dims=STEP_SPLIT, long_name="coefficient c of c l^-a"),
        Variable(
            name="power_law_coefficient_interval",
            dims=(*STEP_SPLIT, "end"),
            long_name="bootstrap interval of the coefficient",
        ),
        Variable(
            name="power_law_optimum_exponent",
            dims=STEP_SPLIT,
            long_name="exponent of the optimum's curve in the same fit",
            units="1",
        ),
        Variable(
            name="power_law_optimum_coefficient",
            dims=STEP_SPLIT,
            long_name="coefficient of the optimum's curve in the same fit",
        ),
        Variable(
            name="power_law_advantage",
            dims=STEP_SPLIT,
            long_name="held-out log-likelihood per position, power law less exponential decay",
        ),
        Variable(
            name="power_law_preferred",
            dims=STEP_SPLIT,
            long_name="share of bootstrap curves that a power law predicts better than exponential decay",
            units="1",
        ),
        Variable(name="power_law_positions", dims=STEP_SPLIT, long_name="positions that were fitted", units="1"),
        Variable(
            name="power_law_ratio",
            dims=STEP_SPLIT,
            long_name="geometric mean of the curve over k / (2 l) on the fitted positions",
            units="1",
        ),
    ),
)
