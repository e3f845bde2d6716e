"""Topics outside the ensemble: what the model, its ensemble's optimum and its nearest topic make of them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from iclkit.api import Batch, Component, Listed, MeasuredCell, Memo, NotApplicable, ScoredBatch, mixture_over
from iclkit_metrics.expected_loss import expected_loss
from iclkit_metrics.icl_score.spec import OUTSIDE
from iclkit_metrics.scored_positions import mean_over
from iclkit_metrics.with_error import with_error


def check(outside: Component | None, cell: MeasuredCell) -> None:
    """Raise NotApplicable where the outside source's tokens are not the cell's."""
    if outside is not None and outside.facts.space != cell.facts.space:
        text = f"the tokens of {outside.kind} are {outside.facts.space}, those of this source {cell.facts.space}"
        raise NotApplicable(f"outside: {text}; choose an outside source of the same tokens")


def measure(config: Any, cell: MeasuredCell, family: Any, late: Callable[[Tensor], Tensor]) -> xr.Dataset:
    """Return the losses on every outside topic; `family` is the ensemble if it is finite, `late` the late window."""
    numbers, losses, floors, optima, limits = [], [], [], [], []
    told_apart = family if family is not None and len(family.weights) <= config.topics else None
    for batch in _batches(config, cell, family):  # one topic
        numbers.append(int(batch.topics.numbers[batch.topic[0]]))
        floors.append(_mean(batch, batch.references["oracle"]))
        optima.append(_mean(batch, batch.references.get("optimum")))
        limits.append(_limit(batch, cell, told_apart, late))
        losses.append([_mean(batch, Memo(cell.models[step])) for step in cell.steps])
    loss, floor, optimum = np.array(losses).swapaxes(0, 1), np.array(floors), np.array(optima)  # (..., topics, 2, T)
    return xr.Dataset(
        with_error("outside_loss", ("step", *OUTSIDE), loss[..., 0, :], loss[..., 1, :])
        | with_error("outside_floor", OUTSIDE, floor[..., 0, :], floor[..., 1, :])
        | with_error("outside_optimum", OUTSIDE, optimum[..., 0, :], optimum[..., 1, :])
        | {"outside_limit": ("outside_topic", limits)},
        coords={
            "step": list(cell.steps),
            "outside_topic": numbers,
            "position": np.arange(1, cell.length + 1),
        },
    )


def _batches(config: Any, cell: MeasuredCell, family: Any) -> Iterator[ScoredBatch]:
    """Iterate over the outside topics' sequences, each with its oracle and the optimum of the cell's ensemble."""
    outside, key = config.outside, cell.key.fold("outside")
    listed, source = outside.facts.topics, outside.build()
    count = len(listed.weights) if isinstance(listed, Listed) else config.outside_topics
    numbers = torch.arange(1, count + 1)
    topics = source.topics(numbers, key.fold("topics").fold(numbers))
    optimum: Any = getattr(cell.source, "population", lambda: None)()
    if family is not None:
        optimum = mixture_over(cell.source, family.topics, family.weights)
    number = torch.arange(1, config.outside_sequences + 1)
    for place in range(count):
        topic = torch.full_like(number, place)
        own = key.fold("sequences").fold(topics.numbers[topic]).fold(number)
        tokens, mask = source.sample(topics, topic, number, cell.length, own)
        known = {"oracle": source.oracle()} | ({} if optimum is None else {"optimum": optimum})
        yield ScoredBatch(
            tokens=tokens,
            mask=torch.ones(tokens.shape[:2], dtype=torch.bool) if mask is None else mask,
            topics=topics,
            topic=topic,
            number=number,
            split="outside",
            references={name: Memo(predictor) for name, predictor in known.items()},
            optimum=None,
            lawful=True,
        )


def _limit(batch: ScoredBatch, cell: MeasuredCell, family: Any, late: Callable[[Tensor], Tensor]) -> float:
    """Return the least of the known topics' losses in the late window, nats per token; NaN without known topics."""
    if family is None:
        return float("nan")
    oracle, losses = cell.source.oracle(), []
    for place in range(len(family.weights)):
        pretended = batch.replace(topics=family.topics[place : place + 1], topic=torch.zeros_like(batch.topic))
        losses.append(mean_over(expected_loss(batch, _At(oracle, pretended)), late(batch.mask)).nanmean())
    return float(torch.stack(losses).min())


class _At:
    """A predictor that sees another batch than the one it is asked about."""

    def __init__(self, predictor: Any, batch: Batch):
        self._predictor, self._batch = predictor, batch

    def log_prob(self, batch: Batch) -> Tensor:
        """Return float64 (B, T)."""
        return self._predictor.log_prob(self._batch)

    def distribution(self, batch: Batch) -> Any:
        """Return its distributions."""
        return self._predictor.distribution(self._batch)


def _mean(batch: ScoredBatch, predictor: Any) -> np.ndarray:
    """Return a predictor's mean loss over sequences and its standard error, float64 (2, T), NaN where unscored."""
    if predictor is None:
        return np.full((2, batch.length), np.nan)
    values = expected_loss(batch, predictor).where(batch.mask, torch.nan)
    count = (~values.isnan()).sum(0)
    mean = values.nanmean(0)
    spread = (values - mean).square().nansum(0) / (count - 1)
    return torch.stack([mean, (spread / count).sqrt()]).numpy()
