"""`iclkit cube validate`: whether a cube has the form that its readers rely on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from iclkit.cli import table
from iclkit.cli.options import as_json
from iclkit.errors import StoreError

if TYPE_CHECKING:
    from xarray import Dataset

_GROUP = ("Conventions", "config", "config_digest", "digest", "versions", "machine")
_COSTS = ("wall_time", "peak_memory", "tokens_per_second", "prior_cost")


@click.command("validate")
@click.argument("path", type=click.Path(path_type=Path))
@as_json
def validate(path: Path, as_json: bool) -> None:
    """Check the form of a run's cube, reading all of it; exit code 6 if anything is wrong."""
    from iclkit import cube

    with cube.open_cube(path) as data:
        found = list(flaws(data.load()))
    if as_json:
        table.dump({"ok": not found, "flaws": found})
    elif not found:
        click.echo(
            f"ok: {len(data.data_vars)} variables over {', '.join(f'{dim} {size}' for dim, size in data.sizes.items())}"
        )
    if found:
        raise StoreError("\n".join(f"{path}: {flaw}" for flaw in found))


def flaws(data: Dataset) -> Iterator[str]:
    """Say what is wrong with the form of a cube."""
    from iclkit.cube import CONVENTIONS

    for name in _GROUP:
        if name not in data.attrs:
            yield f"the group has no attribute {name}"
    if (said := data.attrs.get("Conventions", CONVENTIONS)) != CONVENTIONS:
        yield f"its conventions are {said}; this iclkit reads {CONVENTIONS}"
    if "status" not in data:
        yield "there is no variable status"
        return
    yield from _coordinate_flaws(data)
    yield from _variable_flaws(data)
    yield from _status_flaws(data)


def _coordinate_flaws(data: Dataset) -> Iterator[str]:
    if "seed" not in data["status"].dims:
        yield "there is no dimension seed"
    for name in data.dims:
        if name not in data.indexes:
            yield f"dimension {name} has no coordinate"
        elif not data.indexes[name].is_unique:
            yield f"coordinate {name} says a value twice"
    for name in ("step", "position"):
        if name in data.indexes and not data.indexes[name].is_monotonic_increasing:
            yield f"coordinate {name} does not increase"


def _variable_flaws(data: Dataset) -> Iterator[str]:
    sweep = data["status"].dims
    for name, variable in data.data_vars.items():
        if variable.dims[: len(sweep)] != sweep:
            yield f"{name} does not begin with the sweep's dimensions {', '.join(map(str, sweep))}"
        needed = ("long_name",) if name == "status" else ("long_name", "units")
        for attribute in needed:
            if attribute not in variable.attrs:
                yield f"{name} has no {attribute}"
        for other in variable.attrs.get("ancillary_variables", "").split():
            if other not in data:
                yield f"{name} points to {other}, which is not there"
            elif variable.dims != data[other].dims:
                yield f"{name} and {other} have different dimensions"


def _status_flaws(data: Dataset) -> Iterator[str]:
    status = data["status"]
    if not status.isin(status.attrs.get("flag_values", [])).all():
        yield "status holds values without a meaning in flag_values"
    if "loss" in data:
        whole = data["loss"].isnull().all([dim for dim in data["loss"].dims if dim not in status.dims])
        if (whole & (status == 1)).any():
            yield "cells that are done hold no loss"
    for name in _COSTS:
        if name not in data:
            yield f"there is no variable {name}"
