"""In-context learning measured against exact theory.

    >>> import iclkit
    >>> run = iclkit.run("examples/quickstart.toml")
    >>> ds = iclkit.open_cube(run.folder)
    >>> source = iclkit.source("mess3", x=0.15, a=0.6)

Everything heavy is imported when it is first used; `iclkit.analysis` compares the cells of a cube.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import xarray as xr
    from torch.nn import Module

    from iclkit import analysis
    from iclkit.engine import Result

__version__ = "0.1.0"

__all__ = ["analysis", "explain", "final", "load_model", "measure", "open_cube", "run", "source"]


def run(
    config: str | Path | Mapping[str, Any],
    *,
    out: str | Path | None = None,
    workers: int | None = None,
    plugins: Iterable[str | Path] = (),
) -> Result:
    """Run a config file, or a config given as a dict, as `iclkit run` does; return what it left.

    Parameters
    ----------
    config : path of a TOML file, or its tables.
    out : the run folder; `store.path` or runs/<config's name> if absent.
    workers : worker processes; `execution.workers` if absent. Scripts that use more than one need the usual
        `if __name__ == "__main__":` guard.
    plugins : local plugin files.

    Raises ConfigError with every problem of the config, StoreError where the folder is in use, RunFailures after
    everything else is done if a training failed.

    """
    from iclkit import engine, plan
    from iclkit import plugins as finder

    found = finder.load(plugins)
    tables = config if isinstance(config, Mapping) else None
    path = None if isinstance(config, Mapping) else Path(config)
    wanted = plan.load(path, tables, found, out=Path(out) if out else None)
    result = engine.run(wanted, found, workers=workers)
    result.check()
    return result


def open_cube(path: str | Path) -> xr.Dataset:
    """Open the cube of a run folder as an xarray Dataset, lazily. Raises StoreError where there is none."""
    from iclkit.cube import open_cube

    return open_cube(path)


def final(data: xr.Dataset) -> xr.Dataset:
    """Return a cube at the last step of each cell."""
    from iclkit.cube import final

    return final(data)


def load_model(folder: str | Path, *, plugins: Iterable[str | Path] = ()) -> Module:
    """Return the trained torch module that `iclkit export` wrote into a folder, in evaluation mode, on the CPU.

    It maps inputs to logits (B, T, V), or means for real tokens; the folder's iclkit.json says what it was trained on
    and whether its inputs begin with a begin token (index V). `plugins` are local plugin files that its kind needs.
    Raises StoreError where the folder is not what it should be, ConfigError where its kind is not installed. Warns
    where the model's code has changed.
    """
    from iclkit import export
    from iclkit import plugins as finder

    return export.load(Path(folder), finder.load(plugins))


def explain(
    source: str | Mapping[str, Any], *, length: int = 64, topics: int | None = None, tolerance: float = 1e-3
) -> xr.Dataset:
    """Return what theory predicts of a source, by name or by its table, at positions 1 .. length, in nats.

    Parameters
    ----------
    source : a source's name, or its table such as {"kind": "mess3", "x": 0.15}.
    length : how many positions.
    topics : K known topics; fresh ones if absent.
    tolerance : the standard error to reach where no exact value is known, nats.

    See `iclkit.theory.explain` for the variables. Raises ConfigError with every problem of the source's settings.

    """
    from iclkit import plugins, theory

    table = source if isinstance(source, Mapping) else {"kind": source}
    return theory.explain(theory.source_config(table, length, topics, plugins.load()), tolerance)


def measure(
    model: Any,
    source: Any,
    metrics: Sequence[str | Mapping[str, Any]] | None = None,
    length: int = 64,
    *,
    topics: int | Literal["fresh"] = "fresh",
    sequences: int = 1024,
    seed: int = 0,
    bos: bool = True,
    plugins: Iterable[str | Path] = (),
) -> xr.Dataset:
    """Measure a model from elsewhere on fresh data, beside the exact optimum: no config file, no run folder.

    Parameters
    ----------
    model : a torch module that maps inputs, int64 (B, L), to logits of what follows each, (B, L, V) (for real tokens
        float32 (B, L, D + 1) to means (B, L, D)), or a Predictor: any object with `log_prob(batch)` and
        `distribution(batch)`, see `iclkit.protocols.Predictor`.
    source : a source's name, its table such as {"kind": "mess3", "x": 0.15}, or what `iclkit.source` returned.
    metrics : a list of names or tables of metrics; the default ones if absent. What needs a training, its record or
        held-out data, such as certificates, needs a run.
    length : T, tokens in a sequence.
    topics : K known topics, which adds the split `sequences` and the reference `mixture`; "fresh" for none.
    sequences : how many per split.
    seed : of the data.
    bos : whether the module is given a begin token (index V, so that it reads V + 1 tokens; the last channel for real
        tokens) before the sequence; without it position 1 is NaN.
    plugins : local plugin files.

    Returns a Dataset with the variables that a cube has for these metrics, over split and position, without steps.
    Raises UsageError for what cannot be measured, ConfigError for wrong settings, RunFailures where a metric fails.

    """
    from iclkit import given
    from iclkit import plugins as finder

    found = finder.load(plugins)
    return given.measure(
        model, source, metrics, found, length=length, topics=topics, sequences=sequences, seed=seed, bos=bos
    )


def source(kind: str, **config: Any) -> Any:
    """Build a source by name, without a run. Raises ConfigError with every problem of its settings."""
    from iclkit import given, plugins
    from iclkit.errors import ConfigError
    from iclkit.strict import Problems, Structurer, below

    table = {"kind": kind, **config}
    try:
        built = Structurer(plugins.load().registry, Path.cwd()).component("source", table).build()
    except Problems as found:
        raise ConfigError(below("source", found.problems)) from None
    return given.remember(built, table)


def __getattr__(name: str) -> Any:
    if name == "analysis":
        import importlib

        return importlib.import_module("iclkit.analysis")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
