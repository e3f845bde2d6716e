"""What certificates claim, cell by cell: exact optimum <= population loss <= certificate."""

import numpy as np
import xarray as xr
from findings import Finding, Row, rows


def sandwich(cube: xr.Dataset, name: str, claim: str, paper: str, *, slack: float | None = None) -> Finding:
    """Return whether the sandwich holds in every cell, each with at most a slack of `slack`, with its numbers.

    `name` is that of the metric. The population loss is measured on fresh data, so four standard errors are allowed;
    where a certificate is below it by less, the claim holds as far as can be told.
    """
    value, population, error = cube[name], cube[f"{name}_population"], cube[f"{name}_population_se"]
    known = value.notnull() & population.notnull()
    ordered = (value >= population - 4 * error) & (population >= cube[f"{name}_lower"] - 4 * error)
    valid = cube[f"{name}_valid"] == 1
    above = value - population
    holds = bool((ordered & valid).where(known, True).all()) and bool(known.any())
    if slack is not None:
        holds = holds and bool((above <= slack).where(known, True).all())
    listed: list[Row] = [
        *rows(cube[f"{name}_lower"].where(known), "exact optimum"),
        *rows(population.where(known), "population loss"),
        *rows(value.where(known), "certificate"),
        *rows(above.where(known), "slack", expected="" if slack is None else f"at most {slack:g}"),
        *rows(cube[f"{name}_share"].where(known), "certified share of the learnable gap", units="1"),
    ]
    told = f"{int((ordered & valid & known).sum())} of {int(known.sum())} cells valid and in order"
    return Finding(claim=claim, paper=paper, rows=listed, holds=holds, note=told)


def informative(cube: xr.Dataset, name: str, share: float) -> bool:
    """Whether every known certificate says at least this share of what there is to learn."""
    values = cube[f"{name}_share"].values
    known = values[np.isfinite(values)]
    return bool(len(known)) and bool((known >= share).all())


def gain(cube: xr.Dataset) -> Finding:
    """Return what the `holdout` metric certifies of the fall of the loss within the context."""
    values = cube["holdout_gain"]
    return Finding(
        claim="In-context learning can be certified: late tokens cost less than the first",
        paper="no certificate of it in the paper",
        rows=rows(values, "certified gain from the first eighth of the context to the last"),
        holds=(values > 0).all(),
    )
