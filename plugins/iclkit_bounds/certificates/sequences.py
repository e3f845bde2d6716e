"""Training sequences by address: which of them a subset holds, which are outside, and what predictors give them."""

from collections.abc import Iterable, Iterator

import torch
from attrs import evolve, frozen
from torch import Tensor

from iclkit.api import Batch, Drawn, LogProbs, MeasuredCell, NotApplicable, Predictor, TrainingData
from iclkit_bounds.certificates.targets import Target

_SAMPLED = 1024  # sequences sampled at a time
_TOKENS = 8192  # tokens that go through a predictor at a time
_ENDLESS = 1 << 39  # trainings count up from 1 and never get there; what is held out of endless data counts down to it


@frozen(kw_only=True)
class Extent:
    """How far data reach: they are sequences 1 .. `sequences` of topics 1 .. `topics`."""

    topics: int
    sequences: int

    @classmethod
    def of(cls, data: TrainingData) -> "Extent":
        """Return the extent of a training's data."""
        topics = _ENDLESS if data.weights is None else len(data.weights)
        return cls(topics=topics, sequences=_ENDLESS if data.count is None else data.count // topics)

    def meets(self, target: Target, topic: Tensor, number: Tensor) -> bool:
        """Whether any of these units is among the data; for claims about fresh topics, whether its topic is.

        By address alone: data of other seeds are taken to be the same, which leaves out more than is needed. `number`
        is that of `addresses`: a later unit that repeats a sequence of the data is among them.
        """
        known = topic <= self.topics
        return bool((known if target.unit == "topic" else known & (number <= self.sequences)).any())


def finite(cell: MeasuredCell) -> TrainingData:
    """Return the training data; raises NotApplicable where there are none or they have no end."""
    if cell.training is None or cell.training.count is None:
        raise NotApplicable("there are no training data that end")
    return cell.training


def reached(cell: MeasuredCell) -> tuple[Extent, ...]:
    """Return how far the data reach that the model was trained on, and its prior; nothing where that is not known.

    Of data without end as far as the updates went, where the size of a batch tells.
    """
    if cell.training is None:
        return ()
    size, data = getattr(cell.trainer, "batch_size", None), Extent.of(cell.training)
    most = size * cell.steps[-1] if isinstance(size, int) else _ENDLESS
    topics, sequences = (most if there == _ENDLESS else there for there in (data.topics, data.sequences))
    own = Extent(topics=topics, sequences=sequences)
    return (own,) if cell.prior is None else (own, Extent.of(cell.prior.data))


def outside(cell: MeasuredCell, subset: Extent, target: Target) -> Batch:
    """Return the training units outside a subset: later sequences of all topics alike, or all those of later topics.

    Raises NotApplicable where there are none.
    """
    parts = []
    for batch in finite(cell).all(_SAMPLED):
        place = _topic(batch) if target.unit == "topic" else batch.number
        rows = place > (subset.topics if target.unit == "topic" else subset.sequences)
        if rows.any():
            parts.append(rows_of(batch, rows))
    if not parts:
        what = "topic" if target.unit == "topic" else "sequence of each topic"
        raise NotApplicable(f"the subset of the data that the prior has seen leaves no {what} out")
    return joined(parts)


def sample(cell: MeasuredCell, most: int) -> list[Batch]:
    """Return different sequences of the training: all up to so many, else some spread evenly over their addresses.

    Of data without end the first that were trained on. Raises NotApplicable where the model was trained elsewhere.
    """
    if cell.training is None:
        raise NotApplicable("the model was trained elsewhere, so its training data are not known")
    if cell.training.count is None:
        size, steps = batches(cell)
        wanted = [min(size, most - step * size) for step in range(min(steps, -(-most // size)))]
        return [cell.training.batch(step, size, slice(0, rows)) for step, rows in enumerate(wanted)]
    count, start = cell.training.count, 0
    parts: list[Batch] = []
    units = torch.arange(count) if count <= most else torch.arange(most) * count // most
    for batch in cell.training.all(_SAMPLED):
        rows = units[(units >= start) & (units < start + len(batch))] - start
        parts, start = [*parts, rows_of(batch, rows)], start + len(batch)
    return parts


def batches(cell: MeasuredCell) -> tuple[int, int]:
    """Return the size of the training's batches and how many there were; NotApplicable where it had none."""
    size = getattr(cell.trainer, "batch_size", None)
    if cell.training is None or not isinstance(size, int) or cell.steps[-1] < 1:
        raise NotApplicable("the training made no updates with batches of a known size")
    return size, cell.steps[-1]


def table_of(cell: MeasuredCell, predictor: Predictor, parts: Iterable[Batch]) -> LogProbs:
    """Return what a predictor gives sequences; as `MeasuredCell.log_probs` does for those of a split."""
    values, held = [], []
    for batch in (piece for part in parts for piece in cut(part)):
        values.append(torch.where(batch.mask, predictor.log_prob(batch).double(), torch.nan))
        held.append(addresses(cell, batch))
    topics, numbers = zip(*held, strict=True)
    return LogProbs(values=torch.cat(values), topic=torch.cat(topics), number=torch.cat(numbers))


def addresses(cell: MeasuredCell, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the topic's number and the number of each sequence; those that are the same data have the same."""
    alias = getattr(cell.source, "alias", None)
    number = batch.number if alias is None else alias(batch.topics, batch.topic, batch.number)
    return _topic(batch), number


def cut(batch: Batch) -> Iterator[Batch]:
    """Cut a batch into pieces that fit a predictor's memory."""
    size = max(1, _TOKENS // batch.length)
    for start in range(0, len(batch), size):
        yield rows_of(batch, slice(start, start + size))


def rows_of(batch: Batch, rows: Tensor | slice) -> Batch:
    """Return some sequences of a batch; the topics stay."""
    return batch.replace(
        tokens=batch.tokens[rows], mask=batch.mask[rows], topic=batch.topic[rows], number=batch.number[rows]
    )


def joined(parts: list[Batch]) -> Batch:
    """Return batches of the same topics as one."""
    names = ("tokens", "mask", "topic", "number")
    return parts[0].replace(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def unit_checks(
    cell: MeasuredCell, topic: Tensor, number: Tensor, target: Target, seen: Iterable[Extent] = ()
) -> tuple[dict[str, bool], dict[str, str]]:
    """Return whether the units are independent draws from what the target is about, and why not.

    `topic` and `number` as `addresses` gives them. `seen`: data that must have told nothing of the units, such as those
    of the prior; that they were left out by address is not enough where one sequence repeats another.
    """
    reasons = {}
    if not distinct(topic, number):
        reasons["units_independent"] = "some sequences are the same data under two numbers"
    elif target.unit == "topic" and not isinstance(cell.facts.topics, Drawn):
        reasons["units_independent"] = "the source lists its topics: they are no draws from a law of topics"
    elif target.unit == "sequence" and cell.known is not None and not cell.known.uniform:
        reasons["units_independent"] = "topics have unequal weights, but as many sequences each"
    checks = {"units_independent": not reasons}
    if seen := tuple(seen):
        checks["split_disjoint"] = not any(data.meets(target, topic, number) for data in seen)
        if not checks["split_disjoint"]:
            reasons["split_disjoint"] = (
                "some units repeat, under other numbers, what the training or its prior has seen"
            )
    return checks, reasons


def unrepeated(table: LogProbs, target: Target, seen: Iterable[Extent]) -> LogProbs:
    """Return the sequences that repeat no earlier one and no data seen before, equally many of each topic.

    Which repeat which is told by addresses, never by tokens, so that the others are still independent draws. All are
    returned, repeats too, where topics are the units or where some topic would be left without any.
    """
    seen = tuple(seen)
    clean = distinct(table.topic, table.number) and not any(
        data.meets(target, table.topic, table.number) for data in seen
    )
    if target.unit == "topic" or clean:
        return table
    rows: dict[int, list[int]] = {}
    met: set[tuple[int, int]] = set()
    for row, (topic, number) in enumerate(zip(table.topic.tolist(), table.number.tolist(), strict=True)):
        kept = rows.setdefault(topic, [])
        if (topic, number) not in met and not any(topic <= data.topics and number <= data.sequences for data in seen):
            kept.append(row)
        met.add((topic, number))
    least = min(map(len, rows.values()))
    if not least:
        return table
    chosen = torch.tensor(sorted(row for own in rows.values() for row in own[:least]))
    return evolve(table, values=table.values[chosen], topic=table.topic[chosen], number=table.number[chosen])


def distinct(topic: Tensor, number: Tensor) -> bool:
    """Whether no address comes twice."""
    return len(torch.stack([topic, number]).unique(dim=1)[0]) == len(topic)


def all_distinct(cell: MeasuredCell, parts: Iterable[Batch]) -> bool:
    """Whether no two sequences of these are the same data."""
    topics, numbers = zip(*(addresses(cell, part) for part in parts), strict=True)
    return distinct(torch.cat(topics), torch.cat(numbers))


def _topic(batch: Batch) -> Tensor:
    return batch.topics.numbers[batch.topic]
