"""Real text: every sequence the beginning of a window of its own, mapped from disk. Nobody knows its truth."""

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Key
from iclkit_sources.text import corpus
from iclkit_sources.text.config import Text


@frozen(kw_only=True, eq=False)
class TextTopics:
    """Some topics of a corpus: their numbers, int64 (K,), counted from 1 in the order of their names."""

    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> "TextTopics":
        return TextTopics(numbers=self.numbers[index])


class TextSource:
    """A corpus by windows. It has no references: what follows real text is not known to anybody."""

    def __init__(self, config: Text):
        self._window = config.window
        code = np.dtype(corpus.typecode(config))
        self._streams = [
            np.memmap(corpus.tokens(config, topic), dtype=code, mode="r") for topic in corpus.topics(config)
        ]
        self._starts = [_shuffled(len(stream) // config.window) * config.window for stream in self._streams]

    def topics(self, numbers: Tensor, key: Key) -> TextTopics:
        """Return the topics of these numbers, int64 (K,)."""
        return TextTopics(numbers=numbers)

    def sample(self, topics: TextTopics, topic: Tensor, number: Tensor, length: int, key: Key) -> tuple[Tensor, None]:
        """Read the first `length` tokens of each sequence's window: int64 tokens (B, length), all scored.

        Raises ValueError for a longer length than a window's, and for numbers beyond a topic's windows.
        """
        if length > self._window:
            raise ValueError(f"{length} tokens are longer than a window of {self._window}")
        which, number = topics.numbers[topic.to(topics.numbers.device)].cpu(), number.cpu()
        tokens = np.empty((len(number), length), dtype=np.int64)
        for index in which.unique().tolist():
            rows = (which == index).numpy()
            starts, wanted = self._starts[index - 1], number.numpy()[rows]
            if wanted.min() < 1 or wanted.max() > len(starts):
                raise ValueError(f"topic {index} has sequences 1 to {len(starts)} only")
            tokens[rows] = self._streams[index - 1][starts[wanted - 1][:, None] + np.arange(length)]
        return torch.from_numpy(tokens).to(key.states.device), None


def build(config: Text) -> TextSource:
    """Build the source of a config."""
    return TextSource(config)


def _shuffled(count: int) -> np.ndarray:
    """Return 0 .. count-1 in an order that depends on `count` alone, so that no seed can mix up the splits."""
    return Key.root(0).fold("windows").bits(count).argsort().numpy()
