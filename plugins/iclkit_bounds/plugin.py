"""The built-in certificates: metrics that bound the population loss from above and below. Light."""

from collections.abc import Iterator
from typing import Any

from iclkit.api import Categorical, CommandSpec, Facts, MetricSpec, Variable, hookimpl
from iclkit_bounds.certificates import configs

_BUILD = "iclkit_bounds.certificates."


def _categorical(facts: Facts) -> bool:
    return isinstance(facts.space, Categorical)


def _bound(
    name: str, dims: tuple[str, ...], what: str = "population loss of the certified predictor"
) -> tuple[Variable, ...]:
    """Return the variables that every upper bound has."""
    return (
        Variable(name=name, dims=dims, long_name=f"upper limit of {what}"),
        Variable(name=f"{name}_valid", dims=dims, long_name="whether every precondition was met", units="1"),
        Variable(name=f"{name}_share", dims=dims, long_name="certified share of the learnable gap", units="1"),
        Variable(name=f"{name}_population", dims=dims, long_name=f"{what}, as measured"),
        Variable(name=f"{name}_population_se", dims=dims, long_name="standard error of that"),
        Variable(name=f"{name}_lower", dims=dims, long_name="loss of the exact optimum on those data"),
        Variable(name=f"{name}_record", dims=dims, long_name="the certificate, JSON", units=""),
    )


def _held_out(config: Any) -> tuple[str, ...]:
    return tuple(f"holdout-{target}" for target in config.targets)


def _path_needs(config: configs.LangevinPathConfig) -> tuple[str, ...]:
    return ("finite-data", "record:path_kl", *(_held_out(config) if config.compare else ()))


@hookimpl
def iclkit_commands() -> Iterator[CommandSpec]:
    """Yield the command `certify`."""
    yield CommandSpec(
        name="certify",
        summary="Print the certificates of a run: what they say, whether they are valid, and why.",
        command="iclkit_bounds.certify:command",
    )


@hookimpl
def iclkit_metrics() -> Iterator[MetricSpec]:
    """Yield the certificates."""
    yield MetricSpec(
        name="holdout",
        summary="Certificate from held-out units, which no trainer could reach, of the last snapshot's loss.",
        config=configs.HoldoutConfig,
        build=f"{_BUILD}holdout:HoldoutCertificate",
        role="upper_bound",
        needs=_held_out,
        forecast=f"{_BUILD}forecast:holdout",
        variables=(
            *_bound("holdout", ("target",)),
            Variable(name="holdout_by", dims=("target", "functional"), long_name="the same from other inequalities"),
            Variable(name="holdout_contaminated", dims=("target",), long_name="the same for contaminated units"),
            Variable(name="holdout_block", dims=("target", "block"), long_name="upper limit by block of positions"),
            Variable(
                name="holdout_block_population", dims=("target", "block"), long_name="measured loss of each block"
            ),
            Variable(name="holdout_block_population_se", dims=("target", "block"), long_name="standard error of that"),
            Variable(
                name="holdout_gain",
                dims=("target",),
                long_name="lower limit of the loss of the first block minus that of the last",
            ),
        ),
    )
    yield MetricSpec(
        name="prequential",
        summary="Certificate of a mixture of snapshots, from data scored before they were trained on.",
        config=configs.PrequentialConfig,
        build=f"{_BUILD}prequential:PrequentialCertificate",
        role="upper_bound",
        needs=lambda config: ("one-pass",),
        applies=_categorical,
        variables=(
            *_bound("prequential", ("target",)),
            Variable(
                name="prequential_weight",
                dims=("target", "step"),
                long_name="weight of a snapshot in the certified mixture",
                units="1",
            ),
        ),
    )
    yield MetricSpec(
        name="langevin-path",
        summary="Certificate of a noisy training's last weights, at the cost of its path's likelihood ratio.",
        config=configs.LangevinPathConfig,
        build=f"{_BUILD}langevin_path:LangevinPathCertificate",
        role="upper_bound",
        needs=_path_needs,
        applies=_categorical,
        variables=(
            *_bound("langevin_path", ("target",)),
            Variable(
                name="langevin_path_cost", dims=("target",), long_name="log likelihood ratio of the path, at least 0"
            ),
        ),
    )
    yield MetricSpec(
        name="pacbayes",
        summary="Certificates of weights drawn between the prior's and the trained ones.",
        config=configs.PacBayesConfig,
        build=f"{_BUILD}pacbayes:PacBayesCertificate",
        role="upper_bound",
        needs=lambda config: ("prior", "finite-data"),
        applies=_categorical,
        variables=(
            *_bound("pacbayes", ("target", "pull"), "population loss of one draw"),
            Variable(
                name="pacbayes_cost", dims=("target", "pull"), long_name="log density ratio of the draw, at least 0"
            ),
            Variable(
                name="pacbayes_by",
                dims=("target", "functional"),
                long_name="upper limit of the mean loss over draws of the last pull",
            ),
            Variable(
                name="pacbayes_prior", dims=("target",), long_name="upper limit of the loss of the prior's own weights"
            ),
        ),
    )
    yield MetricSpec(
        name="compression",
        summary="Certificates of quantised weights, at the cost of the code that writes them.",
        config=configs.CompressionConfig,
        build=f"{_BUILD}compression:CompressionCertificate",
        role="upper_bound",
        needs=lambda config: ("finite-data",),
        applies=_categorical,
        variables=(
            *_bound("compression", ("target", "grid_bits"), "population loss of the quantised network"),
            Variable(
                name="compression_cost", dims=("target", "grid_bits"), long_name="length of the code that writes it"
            ),
        ),
    )
    yield MetricSpec(
        name="token-bound",
        summary="Bound on the loss over the training prefixes beside its exact value: a consistency check.",
        config=configs.TokenConfig,
        build=f"{_BUILD}token_bound:TokenBound",
        role="upper_bound",
        applies=_categorical,
        variables=(
            *_bound("token_bound", (), "loss of the quantised network over the training prefixes"),
            Variable(name="token_bound_by", dims=("functional",), long_name="the same from other inequalities"),
        ),
    )
    yield MetricSpec(
        name="paper-bound",
        summary="Theorems 4.3 and 4.6 of arXiv 2502.17024, as written (never valid) or with all constants.",
        config=configs.PaperConfig,
        build=f"{_BUILD}paper_bound:PaperBound",
        role="upper_bound",
        needs=lambda config: ("prior", "finite-data"),
        applies=_categorical,
        variables=(
            *_bound("paper_bound", ("target",), "mean loss of draws around the weights, above the oracle's"),
            Variable(name="paper_bound_divergence", dims=("target",), long_name="divergence of posterior from prior"),
            Variable(
                name="paper_bound_largest_ratio",
                dims=("target",),
                long_name="largest log-ratio of the oracle to the trained model on a fresh token",
            ),
        ),
    )
    yield MetricSpec(
        name="lower-bound",
        summary="Lower confidence limits of the exact optima, and the price of inferring the topic.",
        config=configs.LowerConfig,
        build=f"{_BUILD}lower_bound:LowerBound",
        role="lower_bound",
        applies=lambda facts: bool(facts.references),
        variables=(
            *(
                Variable(name=f"lower_bound{end}", dims=("split", "reference"), long_name=text, units=units)
                for end, text, units in (
                    ("", "lower confidence limit of a reference's expected loss", "nat"),
                    ("_valid", "whether every precondition was met", "1"),
                    ("_estimate", "its mean loss on fresh sequences", "nat"),
                    ("_estimate_se", "standard error of that", "nat"),
                    ("_record", "the lower limit, JSON", ""),
                )
            ),
            Variable(name="topic_price", dims=("split",), long_name="price of inferring the topic, I(W; X) / T"),
            Variable(name="topic_price_se", dims=("split",), long_name="standard error of that"),
            Variable(name="topic_price_asymptotic", dims=("split",), long_name="its asymptotic form, k ln(T) / 2T"),
        ),
    )
    yield MetricSpec(
        name="optimisation-error",
        summary="How far a training is from its architecture's best fit, from both sides.",
        config=configs.OptimisationConfig,
        build=f"{_BUILD}optimisation_error:OptimisationError",
        role="upper_bound",
        applies=lambda facts: _categorical(facts) and "oracle" in facts.references,
        variables=(
            Variable(
                name="optimisation_error", dims=("step", "bits"), long_name="upper limit of the optimisation error"
            ),
            Variable(
                name="optimisation_error_lower", dims=("step",), long_name="lower limit of the optimisation error"
            ),
            Variable(name="optimisation_error_loss", dims=("step",), long_name="training loss"),
            Variable(name="optimisation_error_oracle", dims=(), long_name="the oracle's loss on the same sequences"),
            Variable(name="optimisation_error_allowance", dims=("bits",), long_name="allowance for memorising"),
            Variable(
                name="optimisation_error_valid",
                dims=("bits",),
                long_name="whether every precondition was met",
                units="1",
            ),
            Variable(
                name="optimisation_error_record", dims=("bits",), long_name="the limit at the last step, JSON", units=""
            ),
        ),
    )
