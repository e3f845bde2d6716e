"""Steps to one training loss against the gap of generalisation there."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from findings import Experiment, Finding, ranked, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Steps to a training loss that most trainings reach, the gap there, and their rank correlation."""
    averaged = cube.sel(first_position=2)
    train = averaged["log_ratio"].sel(split="train", drop=True)
    gap = averaged["oracle_kl"].sel(split="topics", drop=True) - train
    level = float(train.min("step").quantile(0.75))  # that three of four trainings reach
    steps = iclkit.analysis.threshold_crossing(train, below=level)
    there = _at(gap, steps)
    yield Finding(
        claim="Trainings that need fewer steps to a training loss generalise better there",
        paper="its bound grows with the number of iterations; curves on real text, no numbers known",
        rows=[
            *ranked(steps, there, "", "Spearman's correlation"),
            *rows(steps, f"steps to a training loss of {level:.3f} above the oracle", units="step"),
            *rows(there, "population loss above the training loss there"),
        ],
        note="positive if faster is better; over the trainings that reach it, interval by bootstrap; steps of small "
        "batches are cheaper, so batch sizes are told apart below",
    )
    for size in cube["batch_size"].values:
        alike = steps.sel(batch_size=size), there.sel(batch_size=size)
        yield Finding(
            claim=f"The same among trainings with batches of {size}",
            paper="not told apart",
            rows=ranked(*alike, f"batch size = {size}", "Spearman's correlation"),
        )


def _at(curve: xr.DataArray, steps: xr.DataArray) -> xr.DataArray:
    """Return a curve over steps at given steps, interpolated over ln(1 + step) as the crossing is."""

    def one(values: np.ndarray, step: float) -> float:
        known = np.isfinite(values)
        return float(np.interp(np.log1p(step), np.log1p(axis[known]), values[known]))

    axis = curve["step"].values.astype(float)
    return xr.apply_ufunc(one, curve, steps, input_core_dims=[["step"], []], vectorize=True)


EXPERIMENT = Experiment(
    measure=measure,
    reduced=("sweep.seed=[0]", "trainer.steps=200", "evaluation.sequences=256"),
    figures=(),
)
