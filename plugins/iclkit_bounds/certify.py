"""`iclkit certify`: the certificate sheets of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

if TYPE_CHECKING:
    from xarray import DataArray, Dataset


@click.command("certify")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("cell", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON.")
def command(run: Path, cell: tuple[str, ...], as_json: bool) -> None:
    """Print the certificates of a run's cells: what they say, whether they are valid, and on which ground.

    NAME=VALUE, such as topics=64 or seed=0, chooses cells of a sweep; all are printed without it.
    """
    import iclkit
    from iclkit_bounds.record import Certificate
    from iclkit_bounds.sheet import sheet

    with iclkit.open_cube(run) as data:
        chosen = _chosen(data, cell)
        found, missing = list(_records(chosen)), sorted(_reasons(chosen))
    if not found:
        for line in missing:
            click.echo(line, err=True)
        click.echo(
            'This cube holds no certificate. Add a table [[metrics]] with kind = "holdout" and hold data out with '
            "data.holdout; `iclkit plugins list` shows the other kinds.",
            err=True,
        )
    if as_json:
        records = [{"cell": where, "certificate": title, **json.loads(text)} for where, title, text in found]
        click.echo(json.dumps(records, indent=1))
        return
    for place, (where, title, text) in enumerate(found):
        if where and (place == 0 or found[place - 1][0] != where):
            click.echo(f"== {_told(where)} ==\n")
        click.echo(sheet(Certificate.from_json(text), title) + "\n")


def _chosen(data: Dataset, cell: tuple[str, ...]) -> Dataset:
    """Return the part of a cube where dims have the values asked for."""
    sweep = list(map(str, data["status"].dims))
    for assignment in cell:
        name, equals, text = assignment.partition("=")
        if not equals or name not in sweep:
            raise click.UsageError(f"{assignment}: expected NAME=VALUE with NAME one of {', '.join(sweep)}")
        labels = [_label(value) for value in data[name].values.tolist()]
        if text not in labels:
            raise click.UsageError(f"{assignment}: there is no such cell; {name} is one of {', '.join(labels)}")
        data = data.isel({name: [labels.index(text)]})
    return data


def _records(data: Dataset) -> Iterator[tuple[dict[str, str], str, str]]:
    """Yield (place in the sweep, name and settings, record) of every certificate, cell by cell."""
    names = [str(name) for name in data.data_vars if str(name).endswith("_record")]
    sweep = list(map(str, data["status"].dims))
    shape = [data.sizes[dim] for dim in sweep]
    told = [dim for dim in sweep if data.sizes[dim] > 1]
    for index in np.ndindex(*shape):
        place = data.isel(dict(zip(sweep, index, strict=True)))
        where = {dim: _label(place[dim].item()) for dim in told}
        for name in names:
            yield from ((where, title, text) for title, text in _texts(place[name]))


def _texts(array: DataArray) -> Iterator[tuple[str, str]]:
    """Yield (name and settings, record) along the dims that are no sweep's; the sheet tells target and split itself."""
    name = str(array.name).removesuffix("_record").replace("_", "-")
    for index in np.ndindex(*array.shape):
        if text := array.values[index]:
            settings = {
                str(dim): _label(array[dim][place].item())
                for dim, place in zip(array.dims, index, strict=True)
                if dim not in ("target", "split")
            }
            yield f"{name} ({_told(settings)})" if settings else name, str(text)


def _reasons(data: Dataset) -> set[str]:
    """Return why metrics that were asked for, certificates among them, measured nothing."""
    return {
        f"{name.removesuffix('_not_applicable').replace('_', '-')} was not measured: {text}"
        for name in map(str, data.data_vars)
        if name.endswith("_not_applicable")
        for text in data[name].values.reshape(-1).tolist()
        if text
    }


def _told(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _label(value: Any) -> str:
    if isinstance(value, float):
        return "fresh" if value == float("inf") else f"{value:g}"
    return str(value)
