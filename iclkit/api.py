"""The only module a plugin imports. What needs torch loads when it is first used."""

from typing import TYPE_CHECKING, Annotated, Any

from attrs import frozen

from iclkit.errors import ConfigError, NotApplicable, Problem, TrainingDiverged
from iclkit.hookspecs import hookimpl
from iclkit.protocols import (
    Batch,
    Cohort,
    Exact,
    Job,
    LogProbs,
    MeasuredCell,
    Models,
    Predictor,
    PriorRun,
    ScoredBatch,
    Snapshot,
    Trainer,
    TrainingData,
)
from iclkit.spaces import Categorical, Real, Space
from iclkit.specs import (
    CheckSpec,
    CommandSpec,
    Component,
    ConfigPath,
    Drawn,
    ExecutorSpec,
    Facts,
    FigureSpec,
    Listed,
    MetricSpec,
    ModelSpec,
    SourceSpec,
    Table,
    TrainerSpec,
    Variable,
    option,
)

SourceComponent = Annotated[Component, "source"]
"""The type of a config field that holds a source: a TOML table with `kind`."""

if TYPE_CHECKING:
    from iclkit.keys import Key
    from iclkit.naive import ContextBigram, ContextUnigram, StaticBigram, StaticUnigram, naive_predictors
    from iclkit.predictors import (
        CategoricalDistribution,
        GaussianDistribution,
        Memo,
        Mixture,
        Uniform,
        conditional_mean,
        cross_entropy,
        entropy,
        kl,
        mixture_over,
    )
    from iclkit.retrieval import BigramRetrieval, UnigramRetrieval
    from iclkit.taps import activations
    from iclkit.topics import TensorTopics

_LAZY = {"Key": "iclkit.keys", "TensorTopics": "iclkit.topics", "activations": "iclkit.taps"} | dict.fromkeys(
    (
        "CategoricalDistribution",
        "GaussianDistribution",
        "Memo",
        "Mixture",
        "Uniform",
        "conditional_mean",
        "cross_entropy",
        "entropy",
        "kl",
        "mixture_over",
    ),
    "iclkit.predictors",
)
_LAZY |= dict.fromkeys(
    ("ContextBigram", "ContextUnigram", "StaticBigram", "StaticUnigram", "naive_predictors"), "iclkit.naive"
)
_LAZY |= dict.fromkeys(("BigramRetrieval", "UnigramRetrieval"), "iclkit.retrieval")

__all__ = [
    "Batch",
    "BigramRetrieval",
    "Categorical",
    "CategoricalDistribution",
    "CheckSpec",
    "Cohort",
    "CommandSpec",
    "Component",
    "ConfigError",
    "ConfigPath",
    "ContextBigram",
    "ContextUnigram",
    "Drawn",
    "Exact",
    "ExecutorSpec",
    "Facts",
    "FigureSpec",
    "GaussianDistribution",
    "Job",
    "Key",
    "Listed",
    "LogProbs",
    "MeasuredCell",
    "Memo",
    "MetricSpec",
    "Mixture",
    "ModelSpec",
    "Models",
    "NotApplicable",
    "Predictor",
    "PriorRun",
    "Problem",
    "Real",
    "ScoredBatch",
    "Snapshot",
    "SourceComponent",
    "SourceSpec",
    "Space",
    "StaticBigram",
    "StaticUnigram",
    "Table",
    "TensorTopics",
    "Trainer",
    "TrainerSpec",
    "TrainingData",
    "TrainingDiverged",
    "Uniform",
    "UnigramRetrieval",
    "Variable",
    "activations",
    "conditional_mean",
    "cross_entropy",
    "entropy",
    "frozen",
    "hookimpl",
    "kl",
    "mixture_over",
    "naive_predictors",
    "option",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
