"""Tasks of text: sequences of demonstrations, and questions with options. Nobody knows the truth of a task."""

import itertools

import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Key
from iclkit_sources.tasks import files
from iclkit_sources.tasks.config import TextTasks
from iclkit_sources.tasks.questions import Questions, pack


@frozen(kw_only=True, eq=False)
class Tasks:
    """Some tasks: their numbers, int64 (K,), counted from 1 in the order in which they come."""

    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> "Tasks":
        return Tasks(numbers=self.numbers[index])


@frozen
class _Line:
    """The tokens of a line: what comes before its label, each option, and the right one's place."""

    before: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]
    right: int


class TextTaskSource:
    """All tasks as tokens. The demonstrations of all tasks are one stream, in which each has a start and an end."""

    def __init__(self, config: TextTasks):
        encode = files.encoder(config)
        between, after = encode(config.input_end), encode(config.label_end)
        self._after = tuple(after)
        self._lines = [
            [
                _Line((*encode(line.input), *between), tuple(tuple(encode(one)) for one in line.options), line.right)
                for line in task.lines
            ]
            for task in files.tasks(config.path)
        ]
        self._queries = config.queries
        shown = [line for lines in self._lines for line in lines[: -config.queries]]
        self._shown = torch.tensor([len(lines) - config.queries for lines in self._lines])
        self._first = self._shown.cumsum(0) - self._shown  # of each task, the place of its first demonstration
        whole = [self._whole(line) for line in shown]
        self._sizes = torch.tensor([len(one) for one in whole])
        self._starts = self._sizes.cumsum(0) - self._sizes
        self._stream = torch.tensor(list(itertools.chain.from_iterable(whole)))
        label = [
            [at >= len(line.before) and at < len(one) - len(after) for at in range(len(one))]
            for line, one in zip(shown, whole, strict=True)
        ]
        self._target = torch.tensor(list(itertools.chain.from_iterable(label)))
        if config.targets == "all":
            self._target = torch.ones_like(self._target)

    def topics(self, numbers: Tensor, key: Key) -> Tasks:
        """Return the tasks of these numbers, int64 (K,)."""
        return Tasks(numbers=numbers)

    def sample(self, topics: Tasks, topic: Tensor, number: Tensor, length: int, key: Key) -> tuple[Tensor, Tensor]:
        """Draw demonstrations of each sequence's task, with replacement: int64 tokens (B, length), targets scored."""
        task = topics.numbers[topic.to(topics.numbers.device)].cpu() - 1
        most = -(-length // int(self._sizes.min()))
        drawn = self._drawn(task, most, key)  # (B, most)
        ends = self._sizes[drawn].cumsum(1)
        positions = torch.arange(length).repeat(len(task), 1)
        place = torch.searchsorted(ends, positions, right=True)
        begins = (ends - self._sizes[drawn]).gather(1, place)
        where = self._starts[drawn].gather(1, place) + positions - begins
        device = key.states.device
        return self._stream[where].to(device), self._target[where].to(device)

    def questions(self, topics: Tasks, shots: int, count: int, key: Key) -> Questions:
        """Ask lines that are never shown after `shots` demonstrations of the same task, tasks in turn.

        `key` is one state, from which each question has its own by number. With fewer shots the query and the last
        demonstrations are the same: accuracies at several shots are paired.
        """
        number = torch.arange(1, count + 1)
        task = topics.numbers.cpu()[(number - 1) % len(topics)] - 1
        own = key.fold(number)
        asked = own.fold("query").integers(self._queries)
        drawn = self._drawn(task, max(shots, 1), own.fold("demonstrations"))[:, :shots].flip(1)
        rows = []
        for place, (index, query) in enumerate(zip(task.tolist(), asked.tolist(), strict=True)):
            line = self._lines[index][len(self._lines[index]) - self._queries + query]
            begins, sizes = self._starts[drawn[place]].tolist(), self._sizes[drawn[place]].tolist()
            shown = [self._stream[begin : begin + size] for begin, size in zip(begins, sizes, strict=True)]
            prompt = [*torch.cat(shown).tolist(), *line.before] if shown else list(line.before)
            rows.append((prompt, line.options, line.right))
        return pack(rows, topics, (number - 1) % len(topics))

    def _drawn(self, task: Tensor, count: int, key: Key) -> Tensor:
        """Draw demonstrations of each task with replacement: places in the stream of all, int64 (B, count)."""
        share = key.uniform(count).cpu() * self._shown[task][:, None]
        return self._first[task][:, None] + share.long().clamp_(max=self._shown[task][:, None] - 1)

    def _whole(self, line: _Line) -> tuple[int, ...]:
        return (*line.before, *line.options[line.right], *self._after)


def build(config: TextTasks) -> TextTaskSource:
    """Build the source of a config."""
    return TextTaskSource(config)
