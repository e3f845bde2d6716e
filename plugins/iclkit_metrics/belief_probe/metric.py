"""Linear probes from activations to exact beliefs (arXiv 2405.15943: belief geometry in the residual stream)."""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from iclkit.api import Key, MeasuredCell, NotApplicable, ScoredBatch, activations
from iclkit_metrics.belief_probe.regression import LinearProbe, Moments
from iclkit_metrics.belief_probe.targets import belief_state, topic_posterior
from iclkit_metrics.families import family_of
from iclkit_metrics.sequences import rows_of, some_of, split_of
from iclkit_metrics.snapshots import chosen

_FEWEST = 4  # sequences
_CELLS = 1 << 25  # numbers in all targets, 256 MiB
_STATES = 16  # beliefs of so many states, at most, are kept for plotting


class BeliefProbe:
    """R^2 of linear maps from what each layer holds at a position to what is known there exactly.

    The target `belief` is the source's belief about its hidden state given the tokens read and the topic; `topic` is
    the posterior over the K known topics. R^2 = 1 - E|y - W x - b|^2 / E|y - mean y|^2, summed over the entries of y,
    by ridge regression on every other sequence and measured on the others, over positions 2 .. T. The control maps to
    targets that were shuffled over sequences and positions.
    """

    def __init__(self, config: Any):
        self._config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return R^2, dims (step, layer, target), and the projections of some beliefs.

        Raises NotApplicable where the source has neither beliefs nor several known topics, or the model no taps.
        """
        config = self._config
        if cell.length < 2:
            raise NotApplicable("a probe needs sequences of 2 tokens at least: nothing is known before the first")
        split = split_of(cell, config.split)
        batches = some_of(cell, split, config.sequences)
        if sum(map(len, batches)) < _FEWEST:
            raise NotApplicable(f"a probe needs {_FEWEST} sequences, to be fitted on some and tested on others")
        first = self._targets(cell, rows_of(batches[0], torch.tensor([0])))
        if not first:
            raise NotApplicable(
                "this source has no hidden state to believe in (no method beliefs), nor several known topics"
            )
        fit = _CELLS // sum(target.numel() for target in first.values())  # sequences whose targets may be kept
        if sum(map(len, batches)) > fit:
            batches = some_of(cell, split, max(_FEWEST, fit))
        targets = [self._targets(cell, batch) for batch in batches]
        names, steps = list(targets[0]), chosen(cell.steps, config.snapshots)
        found = {step: _fit(cell.models[step], batches, targets, config.ridge, cell.key) for step in steps.values()}
        layers = list(found[cell.steps[-1]].probes)
        r2 = np.full((2, len(cell.steps), len(layers), len(names)), np.nan)  # true and shuffled
        for place, step in steps.items():
            r2[:, place] = found[step].r2
        dims = "step", "layer", "target"
        data = xr.Dataset(
            {"belief_r2": (dims, r2[0]), "belief_r2_shuffled": (dims, r2[1])},
            coords={"step": list(cell.steps), "layer": layers, "target": names},
        )
        data["belief_r2"].attrs["split"] = split
        if "belief" in names and targets[0]["belief"].shape[-1] <= _STATES and config.points:
            data = data.merge(
                _projections(cell.models[cell.steps[-1]], batches, targets, found[cell.steps[-1]], config)
            )
        return data

    def _targets(self, cell: MeasuredCell, batch: ScoredBatch) -> dict[str, Tensor]:
        """Return what is to be read, float64 (B, T - 1, ...) each."""
        made = {"belief": belief_state(cell.source, batch)}
        known = family_of(cell)
        if known is not None and 1 < len(known.weights) <= self._config.topics and "oracle" in batch.references:
            made["topic"] = topic_posterior(cell.source, known.topics, known.weights, batch)
        return {name: target for name, target in made.items() if target is not None}


class _Fit:
    """What was found of one model: R^2 (2, layer, target), true and shuffled, and the probes by layer and target."""

    def __init__(self, r2: np.ndarray, probes: dict[str, dict[str, LinearProbe]]):
        self.r2, self.probes = r2, probes


def _fit(model: Any, batches: list[ScoredBatch], targets: list[dict[str, Tensor]], ridge: float, key: Key) -> _Fit:
    names = list(targets[0])
    moments: dict[tuple[str, str, bool, int], Moments] = {}  # (layer, target, shuffled, half)
    first = 0
    for place, (batch, target) in enumerate(zip(batches, targets, strict=True)):
        half = (torch.arange(len(batch)) + first) % 2
        first += len(batch)
        for layer, values in activations(model, batch).items():
            for part in (0, 1):
                rows = half == part
                x = values[rows, 1:].flatten(0, 1)
                order = key.fold("shuffle").fold(place).fold(part).uniform(len(x)).argsort()
                for name in names:
                    y = target[name][rows].flatten(0, 1)
                    moments.setdefault((layer, name, False, part), Moments()).add(x, y)
                    moments.setdefault((layer, name, True, part), Moments()).add(x, y[order])
    layers = list(dict.fromkeys(layer for layer, *_ in moments))
    probes: dict[str, dict[str, LinearProbe]] = {layer: {} for layer in layers}
    r2 = np.empty((2, len(layers), len(names)))
    for (layer, name, shuffled, part), fitted in moments.items():
        if part == 0:
            probe, held_out = LinearProbe(fitted, ridge), moments[layer, name, shuffled, 1]
            r2[int(shuffled), layers.index(layer), names.index(name)] = probe.r2(held_out)
            if not shuffled:
                probes[layer][name] = probe
    return _Fit(r2, probes)


def _projections(
    model: Any, batches: list[ScoredBatch], targets: list[dict[str, Tensor]], found: _Fit, config: Any
) -> xr.Dataset:
    """Return what the probes read at some points of the held-out half, evenly spread, and the exact beliefs there."""
    beliefs = torch.cat([target["belief"] for target in targets])[1::2].flatten(0, 1)  # (n, S)
    chosen_points = torch.linspace(0, len(beliefs) - 1, min(config.points, len(beliefs))).round().long()
    read: dict[str, list[Tensor]] = {layer: [] for layer in found.probes}
    for batch in batches:
        for layer, values in activations(model, batch).items():
            read[layer].append(found.probes[layer]["belief"](values[:, 1:]))
    points = [torch.cat(parts)[1::2].flatten(0, 1)[chosen_points].numpy() for parts in read.values()]
    return xr.Dataset(
        {
            "belief_projection": (("layer", "point", "state"), np.stack(points)),
            "belief": (("point", "state"), beliefs[chosen_points].numpy()),
        },
        coords={"layer": list(read), "point": np.arange(len(chosen_points)), "state": np.arange(beliefs.shape[-1])},
    )
