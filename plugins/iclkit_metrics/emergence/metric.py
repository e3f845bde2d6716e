"""When in training a loss falls suddenly, and which predictor the model is like before and after."""

from typing import Any

import numpy as np
import xarray as xr

from iclkit.api import MeasuredCell, NotApplicable
from iclkit_metrics.emergence.change_points import ChangePoint, Plateau, change_points, plateaus
from iclkit_metrics.emergence.curves import groups, mean_curve, predictor_losses, thinned
from iclkit_metrics.emergence.spec import CHANGES, CURVES, PLATEAUS
from iclkit_metrics.named_predictors import naive_of
from iclkit_metrics.sequences import split_of


class Emergence:
    """Sudden changes of curves in the training's record, and the plateaus between them.

    A curve is a column of the record, or the training loss averaged over a group of positions. How changes are found
    and what their intervals mean is told in `change_points`. A plateau of the loss is matched with the named predictor
    whose loss on fresh sequences of the same law is nearest; that is a likeness in one number, not in predictions
    (`algorithm-mixture` compares those).
    """

    def __init__(self, config: Any):
        self._config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return changes and plateaus; raises NotApplicable where nothing was recorded."""
        config, record = self._config, cell.history.get(self._config.record)
        if record is not None and not len(record):
            raise NotApplicable("the training made no update, so nothing is recorded")
        if record is None:
            known = ", ".join(name for name in cell.history if name != "step")
            raise NotApplicable(f"nothing is recorded as {config.record} in this training; recorded: {known or 'none'}")
        steps, values = cell.history["step"].astype(np.float64), np.asarray(record, dtype=np.float64)
        named = groups(values.shape[1]) if values.ndim == 2 else {"all": slice(0, 1)}
        values = values if values.ndim == 2 else values[:, None]
        curves = {name: mean_curve(values[:, where]) for name, where in named.items()}
        curves = {name: curve for name, curve in curves.items() if np.isfinite(curve).any()}
        if not curves:
            raise NotApplicable(f"no value of {config.record} is recorded in this training")
        losses = self._losses(cell) if config.record == "loss" else {}
        changes = {name: change_points(steps, curve, most=config.changes) for name, curve in curves.items()}
        levels: dict[str, list[Plateau]] = {}
        matched: dict[str, dict[str, float]] = {}
        for name, curve in curves.items():
            means = {each: float(mean_curve(loss[None, named[name]])[0]) for each, loss in losses.items()}
            matched[name] = means
            told = {each: loss for each, loss in means.items() if np.isfinite(loss)} or {"": np.nan}
            levels[name] = plateaus(steps, curve, changes[name], told)
        data = _dataset(list(curves), changes, levels, matched, list(losses), config.changes)
        kept = _kept(steps, curves, config.moments)
        kept["record_curve"].attrs["record"] = config.record
        return data.merge(kept)

    def _losses(self, cell: MeasuredCell) -> dict[str, np.ndarray]:
        """Return the losses of named predictors by position; training positions that evaluation lacks are NaN."""
        split = split_of(cell, None)
        found = predictor_losses(cell, split, naive_of(cell, split), self._config.predictors, self._config.sequences)
        length = cell.history["loss"].shape[1]
        padded = {name: np.full(length, np.nan) for name in found}
        for name, loss in found.items():
            shown = min(length, len(loss))
            padded[name][:shown] = loss[:shown]
        return padded


def _dataset(
    names: list[str],
    changes: dict[str, list[ChangePoint]],
    levels: dict[str, list[Plateau]],
    losses: dict[str, dict[str, float]],
    predictors: list[str],
    most: int,
) -> xr.Dataset:
    change = np.full((5, len(names), most), np.nan)
    plateau, nearest = np.full((4, len(names), most + 1), np.nan), np.full((len(names), most + 1), "", dtype=object)
    for place, name in enumerate(names):
        for index, found in enumerate(changes[name]):
            change[:, place, index] = found.step, *found.interval, found.width, found.height
        for index, level in enumerate(levels[name]):
            plateau[:, place, index] = level.level, level.first, level.last, level.distance
            nearest[place, index] = level.name
    data = xr.Dataset(
        {
            "change_step": (CHANGES, change[0]),
            "change_low": (CHANGES, change[1]),
            "change_high": (CHANGES, change[2]),
            "change_width": (CHANGES, change[3]),
            "change_height": (CHANGES, change[4]),
            "plateau_level": (PLATEAUS, plateau[0]),
            "plateau_first": (PLATEAUS, plateau[1]),
            "plateau_last": (PLATEAUS, plateau[2]),
            "plateau_predictor": (PLATEAUS, nearest),
            "plateau_distance": (PLATEAUS, plateau[3]),
            "stages": ((), _told(changes["all"], levels["all"])),
        },
        coords={"positions": names, "change": np.arange(1, most + 1), "plateau": np.arange(1, most + 2)},
    )
    if not predictors:
        return data
    table = np.array([[losses[name][predictor] for name in names] for predictor in predictors])
    return data.assign(predictor_loss=(("predictor", "positions"), table)).assign_coords(predictor=predictors)


def _kept(steps: np.ndarray, curves: dict[str, np.ndarray], count: int) -> xr.Dataset:
    """Return the curves at no more than so many points, NaN where one has fewer."""
    table = np.full((2, len(curves), count), np.nan)
    for place, curve in enumerate(curves.values()):
        shown = thinned(steps, curve, count)
        table[:, place, : len(shown[0])] = shown
    coords = {"positions": list(curves), "moment": np.arange(1, count + 1)}
    return xr.Dataset({"record_step": (CURVES, table[0]), "record_curve": (CURVES, table[1])}, coords=coords)


def _told(changes: list[ChangePoint], levels: list[Plateau]) -> str:
    """Say what came after what: "uniform (1.609), steps 0 to 40; static-unigram (1.45), steps 90 to 1000"."""
    if not changes:
        return "no sudden change"
    parts = []
    for level in levels:
        name = f"{level.name} ({level.level:.4g})" if level.name else f"{level.level:.4g}"
        parts.append(f"{name}, steps {level.first:.0f} to {level.last:.0f}")
    return "; ".join(parts)
