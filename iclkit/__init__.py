"""In-context learning measured against exact theory.

    >>> import iclkit
    >>> run = iclkit.run("examples/quickstart.toml")
    >>> ds = iclkit.open_cube(run.folder)
    >>> source = iclkit.source("mess3", x=0.15, a=0.6)

Everything heavy is imported when it is first used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

    from iclkit.engine import Result

__version__ = "0.1.0"

__all__ = ["explain", "final", "open_cube", "run", "source"]


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


def source(kind: str, **config: Any) -> Any:
    """Build a source by name, without a run. Raises ConfigError with every problem of its settings."""
    from iclkit import plugins
    from iclkit.errors import ConfigError
    from iclkit.strict import Problems, Structurer, below

    structurer = Structurer(plugins.load().registry, Path.cwd())
    try:
        return structurer.component("source", {"kind": kind, **config}).build()
    except Problems as found:
        raise ConfigError(below("source", found.problems)) from None
