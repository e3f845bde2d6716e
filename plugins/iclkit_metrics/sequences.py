"""Some of a split's sequences, for metrics that cost more than a pass."""

from collections.abc import Iterator

import torch
from attrs import evolve
from torch import Tensor

from iclkit.api import MeasuredCell, Memo, NotApplicable, ScoredBatch


def split_of(cell: MeasuredCell, wanted: str | None, order: tuple[str, ...] = ("sequences", "topics")) -> str:
    """Return the split that is asked for, or else the first of `order` that the cell has.

    Raises NotApplicable where it has not what is asked for.
    """
    if wanted is None:
        return next((name for name in order if name in cell.splits), cell.splits[0])
    if wanted not in cell.splits:
        raise NotApplicable(f"there is no split {wanted} in this cell; there are {', '.join(cell.splits)}")
    return wanted


def some_of(cell: MeasuredCell, split: str, count: int) -> list[ScoredBatch]:
    """Return at most `count` of a split's sequences, chunk by chunk, and more than half as many if there are.

    Splits are in order of topic, so every 2^j-th sequence is taken, with the smallest j that will do. Memory is that
    of 2 `count` sequences, whatever the split's size.
    """
    stride, first = 1, 0
    kept: list[tuple[Tensor, ScoredBatch]] = []  # (places in the split, sequences)
    for batch in cell.batches(split):
        places = torch.arange(first, first + len(batch))
        first += len(batch)
        kept += _thinned([(places, batch)], stride)
        while sum(len(places) for places, _ in kept) > count:
            stride *= 2
            kept = list(_thinned(kept, stride))
    return [batch for _, batch in kept]


def _thinned(chunks: list[tuple[Tensor, ScoredBatch]], stride: int) -> Iterator[tuple[Tensor, ScoredBatch]]:
    for places, batch in chunks:
        rows = (places % stride == 0).nonzero().squeeze(1)
        if len(rows):
            yield places[rows], rows_of(batch, rows)


def rows_of(batch: ScoredBatch, rows: Tensor) -> ScoredBatch:
    """Return some sequences of a batch, with references that know nothing of the others."""
    known = {name: Memo(getattr(each, "predictor", each)) for name, each in batch.references.items()}
    return evolve(
        batch,
        tokens=batch.tokens[rows],
        mask=batch.mask[rows],
        topic=batch.topic[rows],
        number=batch.number[rows],
        references=known,
    )
