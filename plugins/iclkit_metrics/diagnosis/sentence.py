"""What is wrong, if anything, in a sentence per rule: the clearest case, and in how many cells it is so."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import xarray as xr

from iclkit_metrics.diagnosis.rules import NEEDED, RULES, Finding

_WITHIN = ("step", "split", "position")


def sentence(data: xr.Dataset) -> str | None:
    """Return one line per failure that is seen at the end of training, None for a healthy run."""
    if "loss" not in data or not data.sizes.get("step"):
        return None
    data = data[[name for name in NEEDED if name in data]].load()
    swept = {str(dim): size for dim, size in data["loss"].sizes.items() if dim not in _WITHIN}
    cells = [(place, cell) for place, cell in _cells(data, swept) if cell.sizes["step"]]
    lines = []
    for rule in RULES:
        found = [(finding, place) for place, cell in cells if (finding := rule(cell)) is not None]
        if found:
            lines.append(_told(data, found, len(cells), swept))
    return "\n".join(lines) or None


def _cells(data: xr.Dataset, swept: Mapping[str, int]) -> Iterator[tuple[dict[str, int], xr.Dataset]]:
    """Iterate over the sweep's places, each cell with the steps it was measured at."""
    for index in product(*(range(size) for size in swept.values())):
        place = dict(zip(swept, index, strict=True))
        cell = data.isel({dim: at for dim, at in place.items() if dim in data.dims})
        yield place, cell.isel(step=cell["loss"].notnull().any(["split", "position"]).values)


def _told(data: xr.Dataset, found: list[tuple[Finding, dict[str, int]]], count: int, swept: Mapping[str, int]) -> str:
    finding, place = max(found, key=lambda pair: pair[0].weight)
    text = f"{finding.sign}: {finding.evidence}. {finding.advice}"
    if count == 1:
        return text
    where = ", ".join(f"{dim} = {_label(data[dim].values[at])}" for dim, at in place.items() if swept[dim] > 1)
    return f"{text} In {len(found)} of {count} cells; the numbers are those of {where}."


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
