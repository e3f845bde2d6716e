"""Change points and plateaus of what was recorded in training."""

from attrs import frozen

from iclkit.api import MetricSpec, Variable, option

CHANGES = ("positions", "change")
CURVES = ("positions", "moment")
PLATEAUS = ("positions", "plateau")


@frozen(kw_only=True)
class Emergence:
    """Curves of the training's record: of the loss, over groups of positions 1, 2-3, 4-7, ... and over all of them."""

    record: str = option("column of the record: loss, or one that the trainer keeps beside it", default="loss")
    changes: int = option("changes of a curve, at most", default=4, at_least=1)
    predictors: tuple[str, ...] | None = option(
        "predictors that plateaus of the loss are matched with; all exact and naive ones if absent",
        default=None,
        sample=["uniform", "static-unigram", "static-bigram", "mixture"],
    )
    moments: int = option("points of each curve that are kept for plotting, at most", default=200, at_least=2)
    sequences: int = option("sequences on which predictors' losses are measured, at most", default=256, at_least=1)


def _needs(config: Emergence) -> tuple[str, ...]:
    return () if config.record == "loss" else (f"record:{config.record}",)


SPEC = MetricSpec(
    name="emergence",
    summary="Sudden changes of the training loss, and which predictor each plateau is nearest to.",
    config=Emergence,
    build="iclkit_metrics.emergence.metric:Emergence",
    needs=_needs,
    variables=(
        Variable(name="change_step", dims=CHANGES, long_name="middle of a sudden change", units="step"),
        Variable(name="change_low", dims=CHANGES, long_name="low end of its 95 % interval", units="step"),
        Variable(name="change_high", dims=CHANGES, long_name="high end of its 95 % interval", units="step"),
        Variable(name="change_width", dims=CHANGES, long_name="from 10 % to 90 % of the change", units="step"),
        Variable(name="change_height", dims=CHANGES, long_name="change of the curve, negative where it falls"),
        Variable(name="plateau_level", dims=PLATEAUS, long_name="mean of the curve between changes"),
        Variable(name="plateau_first", dims=PLATEAUS, long_name="first step of a plateau", units="step"),
        Variable(name="plateau_last", dims=PLATEAUS, long_name="last step of a plateau", units="step"),
        Variable(name="plateau_predictor", dims=PLATEAUS, long_name="predictor of the nearest loss", units=""),
        Variable(name="plateau_distance", dims=PLATEAUS, long_name="level less that predictor's loss"),
        Variable(name="predictor_loss", dims=("predictor", "positions"), long_name="loss of a named predictor"),
        Variable(name="record_curve", dims=CURVES, long_name="curve of the training's record, thinned"),
        Variable(name="record_step", dims=CURVES, long_name="steps of the curve", units="step"),
        Variable(name="stages", dims=(), long_name="what came after what", units=""),
    ),
)
