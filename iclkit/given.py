"""Measure a model from elsewhere: any torch module, or anything that predicts, on a source whose truth is known."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
import xarray as xr
from torch.nn import Module

from iclkit import evaluate, plan
from iclkit.errors import RunFailures, UsageError
from iclkit.heads import ModulePredictor
from iclkit.measured import GivenModel, Ground
from iclkit.plugins import Plugins
from iclkit.spaces import Categorical
from iclkit.world import World

_BUILT: WeakKeyDictionary[Any, Mapping[str, Any]] = WeakKeyDictionary()


def remember(source: Any, table: Mapping[str, Any]) -> Any:
    """Keep in mind, as long as a source lives, the table it was built from; return the source."""
    _BUILT[source] = table
    return source


def measure(
    model: Any,
    source: Any,
    metrics: Sequence[str | Mapping[str, Any]] | None,
    plugins: Plugins,
    *,
    length: int,
    topics: int | Literal["fresh"],
    sequences: int,
    seed: int,
    bos: bool,
) -> xr.Dataset:
    """Return what metrics say of a model; see `iclkit.measure`."""
    if isinstance(metrics, str | Mapping):
        raise UsageError('metrics: give a list of names or tables, such as ["loss", "divergence"]')
    tables: dict[str, Any] = {
        "seed": seed,
        "source": _table(source),
        "data": {"topics": topics, "sequences": 1, "length": length, "bos": bos},  # what it was trained on is not known
        "evaluation": {"sequences": sequences},
    }
    if metrics is not None:
        tables["metrics"] = [{"kind": metric} if isinstance(metric, str) else dict(metric) for metric in metrics]
    config = plan.load(None, tables, plugins).cells[0].config
    _check(model)
    trains = getattr(model, "training", False)
    ground = Ground(config, GivenModel(model, config), None)
    try:
        if isinstance(predictor := ground.models[0], ModulePredictor):
            _try(predictor, ground)
        measured = evaluate.measure(ground, {metric.name: "" for metric in config.metrics}, World())
    finally:
        if trains:
            model.train()  # as it came
    assert measured is not None
    if measured.failures:
        name, text = next(iter(measured.failures.items()))
        raise RunFailures(f"measuring {name} failed: {text.strip().splitlines()[-1]}\n{text}")
    return measured.data.isel(step=0, drop=True) if "step" in measured.data.dims else measured.data


def _table(source: Any) -> Mapping[str, Any]:
    """Return the table of a source given by name, by table, or as `iclkit.source` built it."""
    if isinstance(source, str):
        return {"kind": source}
    if isinstance(source, Mapping):
        return source
    try:
        return _BUILT[source]
    except (KeyError, TypeError):
        text = (
            'give a name such as "mess3", a table such as {"kind": "mess3", "x": 0.15}, or what iclkit.source returned'
        )
        raise UsageError(f"source: {type(source).__name__} is not known; {text}") from None


def _check(model: Any) -> None:
    if not isinstance(model, Module) and not (hasattr(model, "log_prob") and hasattr(model, "distribution")):
        text = "allowed: a torch.nn.Module, or a Predictor with log_prob(batch) and distribution(batch)"
        raise UsageError(f"model: {type(model).__name__} cannot be measured; {text}")


def _try(predictor: ModulePredictor, ground: Ground) -> None:
    """Run a module once on two sequences; raise UsageError where it cannot read them or answers in another shape."""
    space, batch = ground.config.source.facts.space, ground.splits[-1].chunk(slice(0, 2))
    first = 0 if predictor.bos else 1
    shape = (len(batch.tokens), batch.length - first)
    begin = "; bos = False leaves the begin token out" if predictor.bos else ""
    if isinstance(space, Categorical):
        read = f"int64 {shape} of indices 0 .. {space.size - first}{begin}"
    else:
        read = f"float32 {(*shape, batch.tokens.shape[-1] + 1)}, the last channel marks the begin token"
    try:
        output = predictor.output(batch)
    except Exception as error:
        raise UsageError(f"model: it fails on inputs {read}: {type(error).__name__}: {error}") from error
    if not isinstance(space, Categorical):
        return
    told = f"a tensor {tuple(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
    if told != f"a tensor {(*shape, space.size)}":
        raise UsageError(f"model: it returns {told}; allowed: a tensor {(*shape, space.size)}, a logit for each token")
