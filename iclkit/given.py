"""Measure a model from elsewhere: any torch module, or anything that predicts, on a source whose truth is known."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from weakref import WeakKeyDictionary

import xarray as xr

from iclkit import evaluate, plan
from iclkit.errors import RunFailures, UsageError
from iclkit.measured import GivenModel, Ground
from iclkit.plugins import Plugins
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
    ground = Ground(config, GivenModel(model, config), None)
    measured = evaluate.measure(ground, {metric.name: "" for metric in config.metrics}, World())
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
    from torch.nn import Module

    if not isinstance(model, Module) and not (hasattr(model, "log_prob") and hasattr(model, "distribution")):
        text = "allowed: a torch.nn.Module, or a Predictor with log_prob(batch) and distribution(batch)"
        raise UsageError(f"model: {type(model).__name__} cannot be measured; {text}")
