"""`iclkit cube show`: how much of a cube is filled, its dimensions and variables, and what failed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iclkit.cli import table
from iclkit.cli.options import as_json

if TYPE_CHECKING:
    from xarray import DataArray, Dataset

_STATES = ("pending", "done", "failed")


@click.command("show")
@click.argument("path", type=click.Path(path_type=Path))
@as_json
def show(path: Path, as_json: bool) -> None:
    """Show the coverage, dimensions, variables and failures of a run's cube."""
    from iclkit import cube

    with cube.open_cube(path) as data:
        told = facts(data, path)
    if as_json:
        table.dump(told)
        return
    if told["title"]:
        click.echo(told["title"])
    counts = told["coverage"]
    click.echo(f"{sum(counts.values())} cells: " + ", ".join(f"{counts[state]} {state}" for state in _STATES))
    click.echo()
    table.show(("dimension", "size", "values"), [(one["name"], one["size"], one["values"]) for one in told["dims"]])
    click.echo()
    table.show(
        ("variable", "dims", "units", "what"),
        [(one["name"], one["dims"], one["units"], one["long_name"]) for one in told["variables"]],
    )
    for failed in told["failed_cells"]:
        click.echo("failed: " + " ".join(f"{name}={value}" for name, value in failed.items()))
    for name, error in told["failures"].items():
        click.echo(f"failed: {name}: {error}")


def facts(data: Dataset, path: Path) -> dict[str, Any]:
    """Return what there is to say about a cube, as a JSON value."""
    status = data["status"].load()
    return {
        "title": data.attrs.get("title", ""),
        "coverage": {state: int((status == code).sum()) for code, state in enumerate(_STATES)},
        "dims": [
            {"name": str(name), "size": size, "values": _values(data[name]) if name in data.coords else ""}
            for name, size in _in_order(data).items()
        ],
        "variables": [
            {
                "name": str(name),
                "dims": [str(dim) for dim in variable.dims],
                "units": variable.attrs.get("units", ""),
                "long_name": variable.attrs.get("long_name", ""),
            }
            for name, variable in data.data_vars.items()
        ],
        "failed_cells": _failed_cells(status),
        "failures": _failures(path),
    }


def _in_order(data: Dataset) -> dict[Any, int]:
    """Return the dims: the sweep's in their order, then the others."""
    names = dict.fromkeys((*data["status"].dims, *data.sizes))
    return {name: data.sizes[name] for name in names}


def _values(coordinate: DataArray) -> str:
    values = ["fresh" if value == float("inf") else str(value) for value in coordinate.values.tolist()]
    return ", ".join(values if len(values) <= 8 else [*values[:4], "...", *values[-2:]])


def _failed_cells(status: DataArray) -> list[dict[str, Any]]:
    import numpy as np

    return [
        {
            str(dim): status[dim].values[place].item()
            if status[dim].dtype.kind in "iuf"
            else str(status[dim].values[place])
            for dim, place in zip(status.dims, index, strict=True)
        }
        for index in np.argwhere(status.values == _STATES.index("failed"))
    ]


def _failures(path: Path) -> dict[str, str]:
    """Return the errors that the run folder keeps, by training or pass."""
    from iclkit import files

    run = path.parent if path.name == "cube.zarr" else path
    found = {}
    for outcome in sorted((run / "trainings").glob("*/outcome.json")):
        told = files.read_json(outcome) or {}
        if told.get("status") == "failed":
            found[f"training {outcome.parent.name}"] = " ".join(str(told.get("error", "")).split())
    for failed in sorted((run / "parts").glob("*.failed.json")):
        told = files.read_json(failed) or {}
        found[f"pass {failed.name.split('.')[0]}"] = " ".join(str(told.get("error", "")).split())
    return found
