"""The only module a plugin imports. What needs torch loads when it is first used."""

from typing import TYPE_CHECKING, Annotated, Any

from attrs import frozen

from iclkit.errors import ConfigError, NotApplicable, Problem, TrainingDiverged
from iclkit.hookspecs import hookimpl
from iclkit.protocols import (
    Batch,
    Exact,
    Job,
    MeasuredCell,
    Predictor,
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
    TrainerSpec,
    Variable,
    option,
)

SourceComponent = Annotated[Component, "source"]
"""The type of a config field that holds a source: a TOML table with `kind`."""

if TYPE_CHECKING:
    from iclkit.keys import Key
    from iclkit.predictors import (
        CategoricalDistribution,
        GaussianDistribution,
        Mixture,
        Uniform,
        conditional_mean,
        cross_entropy,
        entropy,
        kl,
        mixture_over,
    )
    from iclkit.topics import TensorTopics

_LAZY = {"Key": "iclkit.keys", "TensorTopics": "iclkit.topics"} | dict.fromkeys(
    (
        "CategoricalDistribution",
        "GaussianDistribution",
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

__all__ = [
    "Batch",
    "Categorical",
    "CategoricalDistribution",
    "CheckSpec",
    "CommandSpec",
    "Component",
    "ConfigError",
    "ConfigPath",
    "Drawn",
    "Exact",
    "ExecutorSpec",
    "Facts",
    "FigureSpec",
    "GaussianDistribution",
    "Job",
    "Key",
    "Listed",
    "MeasuredCell",
    "MetricSpec",
    "Mixture",
    "ModelSpec",
    "NotApplicable",
    "Predictor",
    "Problem",
    "Real",
    "ScoredBatch",
    "Snapshot",
    "SourceComponent",
    "SourceSpec",
    "Space",
    "TensorTopics",
    "Trainer",
    "TrainerSpec",
    "TrainingData",
    "TrainingDiverged",
    "Uniform",
    "Variable",
    "conditional_mean",
    "cross_entropy",
    "entropy",
    "frozen",
    "hookimpl",
    "kl",
    "mixture_over",
    "option",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
