"""The built-in figures."""

from collections.abc import Iterator

from iclkit.api import FigureSpec, hookimpl


@hookimpl
def iclkit_figures() -> Iterator[FigureSpec]:
    """Yield the built-in figures."""
    yield FigureSpec(
        name="icl-curve",
        summary="Loss against position, one line per snapshot, with the exact optimum under it if there is one.",
        needs=("loss",),
        draw="iclkit_figures.icl_curve:draw",
    )
    yield FigureSpec(
        name="training",
        summary="Excess over the exact optimum against tokens seen, one line per group of positions.",
        needs=("excess",),
        draw="iclkit_figures.training:draw",
    )
    yield FigureSpec(
        name="sandwich",
        summary="Certificates above the population loss above the exact optimum, by estimator and by position.",
        needs=(),
        draw="iclkit_figures.sandwich:draw",
    )
    yield FigureSpec(
        name="accuracy",
        summary="Few-shot accuracy against shots, beside readers that are not trained.",
        needs=("icl_accuracy",),
        draw="iclkit_figures.accuracy:draw",
    )
    yield FigureSpec(
        name="option-accuracy",
        summary="Few-shot accuracy on tasks trained on and on unseen ones, against demonstrations.",
        needs=("option_accuracy",),
        draw="iclkit_figures.option_accuracy:draw",
    )
    yield FigureSpec(
        name="reference-distance",
        summary="How far the predicted means of real tokens are from each reference's, against a swept number.",
        needs=("squared_error_distance",),
        draw="iclkit_figures.reference_distance:draw",
    )
    yield FigureSpec(
        name="emergence",
        summary="The training loss over steps, its sudden changes and the predictors its plateaus are near.",
        needs=("record_curve", "change_step"),
        draw="iclkit_figures.emergence:draw",
    )
    yield FigureSpec(
        name="algorithm-mixture",
        summary="Which named predictors explain the model, as areas over training.",
        needs=("algorithm_weight",),
        draw="iclkit_figures.algorithm_mixture:draw",
    )
    yield FigureSpec(
        name="belief-probe",
        summary="How well beliefs can be read in each layer, and for three states what is read.",
        needs=("belief_r2",),
        draw="iclkit_figures.belief_probe:draw",
    )
    yield FigureSpec(
        name="induction-heads",
        summary="Prefix matching and copying of attention heads over training.",
        needs=("prefix_matching",),
        draw="iclkit_figures.induction_heads:draw",
    )
    yield FigureSpec(
        name="losses",
        summary="The empirical, first-level and population losses above the oracle over training.",
        needs=("log_ratio", "oracle_kl"),
        draw="iclkit_figures.losses:draw",
    )
    yield FigureSpec(
        name="scaling",
        summary="The same losses after training against a swept number, such as topics or sequences.",
        needs=("log_ratio", "oracle_kl"),
        draw="iclkit_figures.scaling:draw",
    )
    yield FigureSpec(
        name="calibration",
        summary="How often the model is right, by how sure it is.",
        needs=("calibration_accuracy", "calibration_confidence"),
        draw="iclkit_figures.calibration:draw",
    )
    yield FigureSpec(
        name="power-law",
        summary="The loss above the entropy rate against position, with its fit and the exact curve.",
        needs=("power_law_curve", "power_law_exponent"),
        draw="iclkit_figures.power_law:draw",
    )
    yield FigureSpec(
        name="occurrence",
        summary="Loss on a token by how often it has come, one line per snapshot.",
        needs=("occurrence_loss",),
        draw="iclkit_figures.occurrence:draw",
    )
    yield FigureSpec(
        name="topic-cost",
        summary="What each topic costs over the whole context, beside the logarithm of its weight.",
        needs=("topic_cost", "topic_cost_limit"),
        draw="iclkit_figures.topic_cost:draw",
    )
