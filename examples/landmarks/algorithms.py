"""K Markov chains: which of four algorithms a model is like on chains it has never seen, over K and over training."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows

import iclkit

_RETRIEVAL = ["unigram-retrieval", "bigram-retrieval"]
_INFERENCE = ["context-unigram", "context-bigram"]
_UNIGRAM = ["unigram-retrieval", "context-unigram"]
_BIGRAM = ["bigram-retrieval", "context-bigram"]


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Weights of the algorithms on fresh chains."""
    weight = cube["algorithm_weight"].sel(split="topics", drop=True).dropna("step", how="all")
    last = iclkit.final(cube)["algorithm_weight"].sel(split="topics", drop=True)
    retrieval, inference = _together(last, _RETRIEVAL), _together(last, _INFERENCE)
    few, many = float(retrieval["topics"].min()), float(retrieval["topics"].max())
    less = retrieval.sel(topics=few) - retrieval.sel(topics=many)
    yield Finding(
        claim="Few chains are retrieved, from many the model learns to infer a new one in context",
        paper="Park et al.: retrieval at low, inference at high data diversity [R]",
        rows=[
            *rows(retrieval, "weight of both retrievals", units="1"),
            *rows(inference, "weight of both inferences", units="1"),
        ],
        holds=bool((retrieval.sel(topics=few) > 0.5).all() and (less > 0.2).all()),
        note="on fresh chains, at the end; among many chains unigram retrieval predicts much as unigram inference does",
    )
    unigram, bigram = _together(weight, _UNIGRAM), _together(weight, _BIGRAM)
    first = iclkit.analysis.threshold_crossing(unigram.sel(topics=many), above=0.4)
    then = iclkit.analysis.threshold_crossing(bigram.sel(topics=many), above=0.4)
    yield Finding(
        claim="What follows a token (bigram) is used after how often tokens come (unigram)",
        paper="Park et al.: unigram algorithms first, bigram ones after [R]",
        rows=[
            *rows(first, "step where unigram algorithms have weight 0.4", units="step"),
            *rows(then, "step where bigram algorithms have weight 0.4", units="step"),
        ],
        holds=bool((first < then).all()),
        note=f"at K = {many:g}",
    )
    left = iclkit.final(cube)["algorithm_residual"].sel(split="topics", drop=True)
    yield Finding(
        claim="A mixture of the four algorithms explains the model",
        paper="Park et al.: the model's predictions are a linear combination of four algorithms [R]",
        rows=rows(left, "mean KL divergence that no mixture explains"),
    )
    excess = iclkit.final(cube)["excess"].sel(split="topics").mean("position")
    yield Finding(
        claim="On fresh chains the loss falls with K",
        paper="Park et al.: out-of-distribution performance rises with data diversity [R]",
        rows=rows(excess, "excess on fresh chains"),
        holds=bool((excess.sel(topics=few) > excess.sel(topics=many)).all()),
    )


def _together(weight: xr.DataArray, names: list[str]) -> xr.DataArray:
    """Return the weight of some predictors; one that is like another is missing and counts with that."""
    return weight.sel(predictor=names).fillna(0.0).sum("predictor")


EXPERIMENT = Experiment(
    measure=measure,
    reduced=('sweep={ seed = [0], "data.topics" = [4, 512] }', "trainer.steps=700"),
    figures=("algorithm-mixture",),
)
