"""A start from a prior against a random start: tokens to the same loss, steadiness, and where both end."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, asked, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Tokens to the random start's last loss, variance of the early training loss, final difference."""
    excess = cube["excess"].sel(split="sequences").mean("position")
    last = iclkit.final(cube)["excess"].sel(split="sequences").mean("position")
    target = last.sel(start="random", drop=True)
    tokens = cube["tokens_seen"] / 1e6
    spent, total = prior_tokens(cube) / 1e6, float(tokens.max())
    curve = excess.sel(start="prior", drop=True)
    reached = xr.concat(
        [
            iclkit.analysis.threshold_crossing(
                curve.sel(seed=seed).assign_coords(tokens=("step", tokens.values)).dropna("step"),
                "tokens",
                below=float(target.sel(seed=seed)),
            )
            for seed in cube["seed"]
        ],
        "seed",
    )
    yield Finding(
        claim="A start from a prior reaches the random start's last loss with fewer tokens, the prior's own counted",
        paper="about 4.5 h against 7 h on real text (slides), GPT2-small as the prior of GPT2-large",
        rows=[
            *rows(target * 0 + total, "tokens of the random start", units="million"),
            *rows(reached + spent, "tokens of prior and main training to the same loss", units="million"),
            *rows(target * 0 + spent, "of which the prior's", units="million"),
        ],
        note="one seed; the prior sees an eighth of the sequences, in small batches" if cube.sizes["seed"] == 1 else "",
    )
    early = cube["record_curve"].sel(positions="all").where(cube["record_step"].sel(positions="all") <= _tenth(cube))
    variance = early.var("moment")
    yield Finding(
        claim="A start from a prior is steadier early on",
        paper="smoother early training (slides); no number known",
        rows=rows(variance, "variance of the training loss in the first tenth of the steps", units="nat^2"),
        holds=bool((variance.sel(start="prior") < variance.sel(start="random")).all()),
        note="the fall of the loss itself is part of the variance",
    )
    yield Finding(
        claim="Both end about equally well",
        paper="comparable result (slides); no number known",
        rows=[
            *rows(last, "excess on new sequences at the end"),
            *rows(last.sel(start="prior") - last.sel(start="random"), "difference, prior less random"),
        ],
        note="at equal steps of the main training; the prior's own tokens come on top",
    )


def prior_tokens(cube: xr.Dataset) -> float:
    """Return how many tokens the prior was trained on, repeats counted."""
    tables = asked(cube)
    prior = tables["sweep"]["start"]["choices"]["prior"]["prior"]["trainer"]
    return float(prior["steps"] * prior["batch_size"] * tables["data"]["length"])


def _tenth(cube: xr.Dataset) -> float:
    return float(cube["step"].max()) / 10


EXPERIMENT = Experiment(
    measure=measure,
    reduced=(
        "trainer.steps=200",
        "trainer.snapshots=10",
        "sweep.start.choices={random={},prior={prior={data={sequences=500},trainer={batch_size=8,steps=500}}}}",
    ),
    figures=("losses",),
)
