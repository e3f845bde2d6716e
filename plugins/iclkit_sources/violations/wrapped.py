"""Any source of categorical tokens with structureless or duplicated sequences, or other weights of its topics."""

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from iclkit.api import Categorical, Exact, Key, Mixture, Uniform, mixture_over
from iclkit_sources.violations.config import Violations

Reference = Literal["oracle", "mixture", "population"]


class Violated:
    """A source, a fraction of whose sequences are uniform tokens, and a fraction of whose addresses are repeated.

    Parameters
    ----------
    config : the violations.
    source : the source, single topics violated already.
    structureless : the fraction of structureless sequences still to come.

    """

    def __init__(self, config: Violations, source: Any, structureless: float):
        self._source, self._fraction = source, structureless
        self._reweighted = config.skew > 0
        space = config.source.facts.space
        assert isinstance(space, Categorical)
        self._size = space.size
        if config.duplicates:
            self._duplicates = config.duplicates
            self.alias = self._alias
        elif hasattr(source, "alias"):
            self.alias = source.alias
        if hasattr(source, "prompts"):  # prompts have all their structure, whatever documents lack
            self.prompts = source.prompts

    def topics(self, numbers: Tensor, key: Key) -> Any:
        """Return the source's topics."""
        return self._source.topics(numbers, key)

    def sample(self, topics: Any, topic: Tensor, number: Tensor, length: int, key: Key) -> tuple[Tensor, Tensor | None]:
        """Sample one sequence per entry of `topic`: int64 tokens (B, length) and the mask of scored positions."""
        tokens, mask = self._source.sample(topics, topic, number, length, key)
        own = key.fold("structureless")
        loose = own.uniform(1) < self._fraction  # (B, 1)
        tokens = torch.where(loose, own.fold("tokens").integers(self._size, length), tokens)
        return tokens, None if mask is None else mask | loose

    def _alias(self, topics: Any, topic: Tensor, number: Tensor) -> Tensor:
        """Return the numbers, int64 (B,), whose sequences these addresses hold.

        A number n > 1 repeats, with the probability given, one drawn evenly from 1 .. n - 1, which may itself repeat.
        """
        root = Key.root(0).fold("duplicates").fold(topics.numbers[topic])
        number = number.clone()
        waiting = (number > 1).nonzero().squeeze(1)
        while len(waiting):
            now = number[waiting]
            draws = root[waiting].fold(now).uniform(2)
            repeated = draws[:, 0] < self._duplicates
            earlier = 1 + (draws[:, 1] * (now - 1)).to(torch.int64).clamp(max=now - 2)
            number[waiting[repeated]] = earlier[repeated]
            waiting = waiting[repeated & (earlier > 1)]
        return number

    def oracle(self) -> Any:
        """Return the predictor that knows each sequence's topic, not whether it has structure."""
        return self._loosened(self._source.oracle())

    def mixture(self, topics: Any, weights: Tensor) -> Any:
        """Return the predictor that knows these topics and their weights, float64 (K,)."""
        return self._loosened(mixture_over(self._source, topics, weights))

    def population(self) -> Any:
        """Return the predictor that knows only the family; None where there is none."""
        own = None if self._reweighted else getattr(self._source, "population", lambda: None)()
        return None if own is None else self._loosened(own)

    def _loosened(self, predictor: Any) -> Any:
        if not self._fraction:
            return predictor

        def parts() -> Iterator[tuple[float, Any]]:
            yield 1 - self._fraction, predictor
            yield self._fraction, Uniform(self._size)

        return Mixture(parts)

    def optimum(self, reference: Reference, topics: Any, weights: Tensor | None, length: int) -> Exact | None:
        """Return the source's floor; None with structureless sequences, or where it would use its own weights."""
        ask = getattr(self._source, "optimum", None)
        if ask is None or self._fraction or (self._reweighted and topics is None):
            return None
        return ask(reference, topics, weights, length)

    def entropy_rate(self, topics: Any, weights: Tensor | None) -> Exact | None:
        """Return the mean entropy rate, nats, shape (1,): the fraction without structure has ln V."""
        ask = getattr(self._source, "entropy_rate", None)
        own = None if ask is None or (self._reweighted and topics is None) else ask(topics, weights)
        if own is None or not self._fraction:
            return own
        values = (1 - self._fraction) * own.values + self._fraction * math.log(self._size)
        return Exact(values=values, method=own.method, error=(1 - self._fraction) * own.error)
