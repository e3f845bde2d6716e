"""Energy distances between the replicas of four dynamics, at ten times."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from findings import Experiment, Finding, Row

TIMES = 11  # snapshots of each dynamics, at the same times


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Of the training loss, and of the loss on the second and on the last token."""
    loss = cube["loss"].sel(split="train")
    functionals = {
        "training loss": loss.mean("position"),
        "loss on token 2": loss.sel(position=2),
        "loss on the last token": loss.isel(position=-1),
    }
    names = [str(name) for name in cube["dynamics"].values]
    listed: list[Row] = []
    for what, values in functionals.items():
        moments = {name: _in_time(values.sel(dynamics=name)) for name in names}
        diffusion = moments["diffusion"]
        half = diffusion.shape[1] // 2
        chance = [energy_distance(row[:half], row[half:]) for row in diffusion]
        listed.append(_row("two halves of the diffusion's replicas", what, chance))
        for name in names[1:]:
            found = [energy_distance(a, b) for a, b in zip(diffusion, moments[name], strict=True)]
            listed.append(_row(f"{name} against the diffusion", what, found))
    yield Finding(
        claim="SGD behaves like the Langevin diffusion that the bounds model it by",
        paper="a modelling assumption; not measured there",
        rows=listed,
        note="root energy distance, mean over ten times, and the range over them; the first row is what chance gives",
    )


def energy_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|) of two samples of numbers, pairs of one sample distinct."""

    def within(x: np.ndarray) -> float:
        return float(np.abs(x[:, None] - x).sum() / (len(x) * (len(x) - 1)))

    between = float(np.abs(a[:, None] - b).mean())
    return float(np.sqrt(max(0.0, 2 * between - within(a) - within(b))))


def _in_time(values: xr.DataArray) -> np.ndarray:
    """Return a functional at the times after the start, (times, replicas)."""
    known = values.dropna("step", how="all").transpose("step", "seed").values
    assert len(known) == TIMES
    return known[1:]


def _row(setting: str, what: str, found: list[float]) -> Row:
    return Row(
        setting=setting,
        quantity=f"distance of the {what}",
        mean=float(np.mean(found)),
        low=min(found),
        high=max(found),
        seeds=len(found),
    )


EXPERIMENT = Experiment(measure=measure, reduced=("sweep.seed=[0,1,2,3]",))
