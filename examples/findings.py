"""What an experiment claims, what was measured, and whether it holds: the words and the arithmetic of the packs."""

import csv
import json
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from attrs import field, frozen

import iclkit
from iclkit.config import override

COLUMNS = ("claim", "paper", "verdict", "setting", "quantity", "expected", "mean", "low", "high", "seeds", "units")


@frozen(kw_only=True)
class Row:
    """One number: its mean over seeds and Student's 95 % interval; NaN ends with one seed."""

    setting: str
    quantity: str
    mean: float
    low: float
    high: float
    seeds: int
    units: str = "nat"
    expected: str = ""

    def __str__(self) -> str:
        known = np.isfinite(self.low) and np.isfinite(self.high)
        interval = f" ({self.low:.4g} to {self.high:.4g})" if known else ""
        expected = f"; expected {self.expected}" if self.expected else ""
        units = "" if self.units == "1" else f" {self.units}"
        setting = f"{self.setting}: " if self.setting else ""
        return f"{setting}{self.quantity} {self.mean:.4g}{interval}{units}{expected}"


@frozen(kw_only=True)
class Finding:
    """A claim with what was measured of it; `holds` is None where it is reported and nothing is asserted."""

    claim: str
    paper: str  # what the paper or its code says of it, and how sure that is
    rows: tuple[Row, ...] = field(converter=tuple)
    holds: bool | None = field(default=None, converter=lambda value: None if value is None else bool(value))
    note: str = ""  # what a careful reader must know beside the numbers

    @property
    def verdict(self) -> str:
        """What the table says."""
        word = {None: "reported", True: "holds", False: "does not hold here"}[self.holds]
        return f"{word}: {self.note}" if self.note else word


@frozen(kw_only=True)
class Experiment:
    """What is measured of a config's cube, and the smaller setting that the tests run: NAME.py beside NAME.toml.

    Parameters
    ----------
    measure : cube -> findings. The cube has no cells that failed; its dims of size 1 are gone, but for `seed`.
    reduced : assignments in the manner of `iclkit run --set`; the directions of all claims must hold there too.
    fast : whether the reduced setting takes less than a minute, so that every test run has it.
    figures : to be drawn for the gallery.
    prepare : writes what the config reads from disk, where it is not there yet.

    """

    measure: Callable[[xr.Dataset], Iterator[Finding]]
    reduced: tuple[str, ...] = ()
    fast: bool = False
    figures: tuple[str, ...] = ()
    prepare: Callable[[], None] | None = None


def opened(folder: Path) -> xr.Dataset:
    """Return a run's cube in memory, without dims of size 1 except `seed`."""
    data = iclkit.open_cube(folder).load()
    alone = [dim for dim, size in data.sizes.items() if size == 1 and dim != "seed"]
    data = data.squeeze(alone)
    return data if "seed" in data.dims else data.expand_dims("seed")


def asked(cube: xr.Dataset) -> dict[str, Any]:
    """Return the config's tables as they were run, with what `--set` changed."""
    return override(tomllib.loads(cube.attrs["config"]), tuple(json.loads(cube.attrs.get("set", "[]"))))


def rows(
    values: xr.DataArray, quantity: str, *, units: str = "nat", expected: Callable[[str], str] | str = ""
) -> list[Row]:
    """Return a row for each setting: the entries of all dims but `seed`, named "dim = value, dim = value"."""
    made = []
    for setting, ends, count in _by_setting(iclkit.analysis.seed_interval(values), "mean"):
        told = expected(setting) if callable(expected) else expected
        if count:
            made.append(Row(setting=setting, quantity=quantity, seeds=count, units=units, expected=told, **ends))
    return made


def fitted(fit: xr.Dataset, quantity: str, *, expected: str = "") -> list[Row]:
    """Return rows of exponents with their intervals, as `iclkit.analysis.scaling_fit` gives them."""
    if fit.sizes.get("seed") == 1:
        fit = fit.squeeze("seed", drop=True)
    return [
        Row(setting=setting, quantity=quantity, seeds=count, units="1", expected=expected, **ends)
        for setting, ends, count in _by_setting(fit, "exponent")
    ]


def ranked(a: xr.DataArray, b: xr.DataArray, setting: str, quantity: str) -> list[Row]:
    """Return the rank correlation of two quantities over cells, with its bootstrap interval; none if one is constant.

    `seeds` counts cells.
    """
    found = iclkit.analysis.rank_correlation(a, b)
    return [
        Row(setting=setting, quantity=quantity, seeds=count, units="1", **ends)
        for _, ends, count in _by_setting(found, "correlation")
        if np.isfinite(ends["mean"])
    ]


def single(quantity: str, value: float) -> Row:
    """Return a number that has no seeds, such as a baseline's loss."""
    return Row(setting="", quantity=quantity, mean=value, low=np.nan, high=np.nan, seeds=1)


def _by_setting(found: xr.Dataset, name: str) -> Iterator[tuple[str, dict[str, float], int]]:
    """Yield each entry's setting, its value (variable `name`) with both ends, and how many cells it rests on."""
    dims = list(found[name].dims)
    stacked = found.stack(row=dims) if dims else found.expand_dims("row")
    for place in range(stacked.sizes["row"]):
        one = stacked.isel(row=place)
        setting = ", ".join(f"{str(dim).replace('_', ' ')} = {_told(one[dim].item())}" for dim in dims)
        ends = {end: float(one[variable]) for end, variable in (("mean", name), ("low", "low"), ("high", "high"))}
        yield setting, ends, int(one["count"])


def falls(values: xr.DataArray, dim: str, *, ends_only: bool = True) -> bool:
    """Whether the mean over seeds falls from the first entry of a dim to the last; at every step if not `ends_only`."""
    mean = values.mean([other for other in values.dims if other != dim])
    drops = mean.isel({dim: [0, -1]}).values if ends_only else mean.values
    return bool((np.diff(drops) < 0).all())


def tail(values: xr.DataArray, share: float = 0.1) -> xr.DataArray:
    """Return the mean over the last share of positions, at least one."""
    count = max(1, round(share * values.sizes["position"]))
    return values.isel(position=slice(-count, None)).mean("position")


def write(findings: Iterable[Finding], path: Path) -> None:
    """Write a table with one line per number."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for finding in findings:
            for row in finding.rows:
                numbers = [f"{number:.5g}" for number in (row.mean, row.low, row.high)]
                about = (row.setting, row.quantity, row.expected)
                table.writerow([finding.claim, finding.paper, finding.verdict, *about, *numbers, row.seeds, row.units])


def _told(value: object) -> str:
    if isinstance(value, float):
        return "fresh" if np.isinf(value) else f"{value:g}"
    return str(value)
