"""The prompts that are asked: which shots and lengths fit, from which topics, and in another order."""

from typing import Any

import torch
from torch import Tensor

from iclkit.api import Batch, Key, MeasuredCell, NotApplicable
from iclkit_metrics.families import family_of

_CELLS = 1 << 22  # numbers in the distributions of sequences that are asked together


def grid(shots: tuple[int, ...] | None, lengths: tuple[int, ...], longest: int) -> dict[tuple[int, int], bool]:
    """Return {(example length, shots): whether it fits}.

    A prompt of n examples of L tokens, delimiters between them, and its answer take (L + 1) n + L positions. Raises
    NotApplicable where `shots` are given and do not fit, or nothing fits.
    """
    if shots is None:
        most = max((longest - length) // (length + 1) for length in lengths)
        some = (0, *(2**power for power in range(most.bit_length()))) if most >= 1 else (0,)
    else:
        some = shots
    fits = {(length, n): (length + 1) * n + length <= longest for length in lengths for n in some}
    bad = [place for place, fit in fits.items() if not fit]
    if bad and (shots is not None or len(bad) == len(fits)):
        length, n = bad[0]
        raise NotApplicable(
            f"{n} examples of {length} tokens and the answer take (L + 1) n + L = {(length + 1) * n + length} "
            f"positions, the evaluation has {longest}: choose fewer shots, shorter examples, or a greater length"
        )
    return fits


def prompt_topics(cell: MeasuredCell, wanted: str | tuple[int, ...], fresh: int) -> Any:
    """Return the topics of prompts; raises NotApplicable where the cell does not know them by number."""
    if wanted == "fresh":
        return cell.fresh(fresh).topics
    family = family_of(cell)
    if family is None:
        raise NotApplicable('no topics are known where each sequence has its own; choose topics = "fresh"')
    if wanted == "known":
        return family.topics
    places = {number: place for place, number in enumerate(family.topics.numbers.tolist())}
    missing = [number for number in wanted if number not in places]
    if missing:
        raise NotApplicable(f"topic {missing[0]} is not known here; known are {min(places)} .. {max(places)}")
    return family.topics[torch.tensor([places[int(number)] for number in wanted])]


def reordered(batch: Batch, shots: int, length: int, key: Key) -> Batch:
    """Return prompts whose examples have changed places, each prompt's in an order of its own."""
    order = key.fold(batch.number).uniform(shots).argsort(1)  # (n, shots)
    end = shots * (length + 1)
    examples = batch.tokens[:, :end].view(len(batch), shots, length + 1)
    moved = examples.gather(1, order[..., None].expand_as(examples)).flatten(1)
    return batch.replace(tokens=torch.cat([moved, batch.tokens[:, end:]], dim=1))


def answers(predictor: Any, batch: Batch, size: int) -> Tensor:
    """Return the likeliest last token of each sequence, int64 (n,); -1 where the rest is ruled out."""
    rows = max(1, _CELLS // (batch.length * size))
    found = []
    for part in torch.arange(len(batch)).split(rows):
        some = batch.replace(
            tokens=batch.tokens[part], mask=batch.mask[part], topic=batch.topic[part], number=batch.number[part]
        )
        log_probs = predictor.distribution(some).log_probs[:, -1]
        known = ~log_probs.isnan().any(1)
        found.append(torch.where(known, log_probs.nan_to_num(nan=0.0).argmax(1), -1))
    return torch.cat(found)
