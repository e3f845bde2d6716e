"""Few-shot accuracy on tasks whose labels are chosen from options, by the mean loss of each option's tokens."""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from iclkit.api import Categorical, MeasuredCell, NotApplicable
from iclkit_metrics.families import family_of
from iclkit_metrics.option_accuracy.spec import ACCURACY, QUESTIONS
from iclkit_metrics.snapshots import chosen
from iclkit_metrics.wilson import wilson
from iclkit_metrics.with_error import with_error

TASKS = ("known", "unseen")
_CELLS = 1 << 22  # numbers in the distributions of rows that are asked together


class OptionAccuracy:
    """The share of questions whose label the model prefers, for tasks it was trained on and for unseen ones.

    A question is `shots` demonstrations of a task and an input that is in no training sequence; the option whose
    tokens have the least mean loss is the answer (Min et al., arXiv 2110.15943), the first of equal ones. Questions
    are made by address and paired: with fewer shots the input and the last demonstrations are the same. The standard
    error is binomial and the interval Wilson's, at 95 %: of questions, for these tasks.
    """

    def __init__(self, config: Any):
        self._config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return accuracies; raises NotApplicable where the source asks no questions or knows too few tasks."""
        config, ask, space = self._config, getattr(cell.source, "questions", None), cell.facts.space
        if ask is None or not isinstance(space, Categorical):
            raise NotApplicable("this source asks no questions (no method questions with options)")
        groups = {name: topics for name, topics in self._topics(cell).items() if len(topics)}
        steps, shape = chosen(cell.steps, config.snapshots), (len(TASKS), len(config.shots))
        right, count = np.full((len(cell.steps), *shape), np.nan), np.full(shape, np.nan)
        chance, too_long = np.full((2, *shape), np.nan)
        for name, topics in groups.items():
            for at, shots in enumerate(config.shots):
                place = TASKS.index(name), at
                asked = ask(topics, shots, config.questions, cell.key.fold("questions").fold(name))
                fits = _every(asked.question, asked.length <= cell.length)
                too_long[place] = float((~fits).double().mean())
                if not fits.any():
                    continue
                count[place] = int(fits.sum())
                options = asked.question.bincount()
                chance[place] = float((1 / options[fits]).mean())
                for step_place, step in steps.items():
                    correct = _correct(_mean_losses(cell.models[step], asked.batch, cell.length, space.size), asked)
                    right[step_place, *place] = float(correct[fits].double().mean())
        if not np.isfinite(count).any():
            raise NotApplicable(f"no question fits into {cell.length} tokens: choose fewer shots, or a greater length")
        low, high = wilson(right, count)
        return xr.Dataset(
            with_error("option_accuracy", ACCURACY, right, np.sqrt(right * (1 - right) / count), units="1")
            | {
                "option_accuracy_low": (ACCURACY, low),
                "option_accuracy_high": (ACCURACY, high),
                "option_chance": (QUESTIONS, chance),
                "option_too_long": (QUESTIONS, too_long),
            },
            coords={"step": list(cell.steps), "tasks": list(TASKS), "shots": list(config.shots)},
        )

    def _topics(self, cell: MeasuredCell) -> dict[str, Any]:
        """Return the tasks of each kind; raises NotApplicable for a wrong number."""
        known, every = family_of(cell), cell.fresh(1).topics
        if known is None:
            raise NotApplicable("no tasks are known where each sequence has its own")
        trained, wanted = set(known.topics.numbers.tolist()), self._config.unseen
        numbers = every.numbers.tolist()
        unseen = [number for number in numbers if number not in trained] if wanted is None else list(wanted)
        wrong = [number for number in unseen if number in trained or number not in numbers]
        if wrong:
            reason = "is trained on" if wrong[0] in trained else f"does not exist, there are 1 .. {max(numbers)}"
            raise NotApplicable(f"task {wrong[0]} cannot be unseen: it {reason}")
        places = torch.tensor([numbers.index(number) for number in unseen], dtype=torch.int64)
        return {"known": known.topics, "unseen": every[places]}


def _every(group: Tensor, holds: Tensor) -> Tensor:
    """Return whether something holds for all rows of each group, bool (n,)."""
    return (group.bincount(weights=(~holds).double()) == 0).bool()


def _mean_losses(model: Any, batch: Any, longest: int, size: int) -> Tensor:
    """Return the mean loss of each row's scored tokens, float64 (m,); rows are cut at the longest input."""
    length = min(batch.length, longest)
    found = []
    for some in torch.arange(len(batch)).split(max(1, _CELLS // (length * size))):
        part = batch.replace(
            tokens=batch.tokens[some, :length],
            mask=batch.mask[some, :length],
            topic=batch.topic[some],
            number=batch.number[some],
        )
        log_prob = torch.where(part.mask, model.log_prob(part), 0.0)
        found.append(-log_prob.sum(1) / part.mask.sum(1))
    return torch.cat(found).nan_to_num(nan=torch.inf)


def _correct(loss: Tensor, asked: Any) -> Tensor:
    """Return whether the option of the least loss is the label, bool (n,)."""
    table = torch.full((len(asked), int(asked.option.max()) + 1), torch.inf, dtype=torch.float64)
    table[asked.question, asked.option] = loss
    label = torch.zeros(len(asked), dtype=torch.int64)
    label[asked.question[asked.right]] = asked.option[asked.right]
    return table.argmin(1) == label
