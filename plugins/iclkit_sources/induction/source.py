"""Repeated blocks, and the exact Bayes predictor that sums over the length of the block.

Under a block of n tokens the first l tokens have probability V^-min(l, n) if x_j = x_(j-n) for all n < j <= l, and 0
otherwise. With every length from shortest to longest equally likely,
Pr(x_1 .. x_l) = mean over n of [n is a period of x_1 .. x_l] V^-min(l, n).
"""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Batch, CategoricalDistribution, Exact, Key
from iclkit_sources.induction.config import Induction
from iclkit_sources.induction.periods import block_floor

Reference = Literal["oracle", "mixture", "population"]

_CELLS = 1 << 19  # (sequence, position) pairs looked at together


@frozen(kw_only=True, eq=False)
class BlockTopics:
    """The one topic: the numbers, int64 (K,), are all there is to it."""

    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> "BlockTopics":
        return BlockTopics(numbers=self.numbers[index])


class InductionSource:
    """Random blocks, repeated."""

    def __init__(self, config: Induction):
        self._config = config

    def topics(self, numbers: Tensor, key: Key) -> BlockTopics:
        """Return the topic."""
        return BlockTopics(numbers=numbers)

    def sample(self, topics: BlockTopics, topic: Tensor, number: Tensor, length: int, key: Key) -> tuple[Tensor, None]:
        """Draw each sequence's block and repeat it: int64 tokens (B, length), all scored."""
        config = self._config
        span = key.fold("length").integers(config.longest - config.shortest + 1, 1) + config.shortest  # (B, 1)
        block = key.fold("block").integers(config.tokens, config.longest)
        return block.gather(1, torch.arange(length, device=block.device) % span), None

    def oracle(self) -> "BlockPredictor":
        """Return the exact predictor; the topic tells it nothing."""
        return BlockPredictor(self._config)

    def mixture(self, topics: BlockTopics, weights: Tensor) -> "BlockPredictor":
        """Return the exact predictor."""
        return BlockPredictor(self._config)

    def population(self) -> "BlockPredictor":
        """Return the exact predictor."""
        return BlockPredictor(self._config)

    def optimum(self, reference: Reference, topics: BlockTopics | None, weights: Tensor | None, length: int) -> Exact:
        """Return the exact floor, the same for every reference, nats, l = 1 .. length; NaN past the budget."""
        return block_floor(self._config.tokens, self._config.shortest, self._config.longest, length)

    def entropy_rate(self, topics: BlockTopics | None, weights: Tensor | None) -> Exact:
        """Return 0: a block that is known repeats for ever."""
        return Exact(values=np.zeros(1), method="closed-form", error=np.zeros(1))


def build(config: Induction) -> InductionSource:
    """Build the source of a config."""
    return InductionSource(config)


class BlockPredictor:
    """The exact predictor, which sums over all lengths of the block that the tokens before still allow."""

    def __init__(self, config: Induction):
        self._size, self._spans = config.tokens, range(config.shortest, config.longest + 1)

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l), float64 (B, T), nats; -inf where no length allows the token, NaN after."""
        return torch.cat([self._evidence(tokens).diff(dim=1) for tokens in self._blocks(batch)])

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return Pr(. | x_<l) at every position."""
        return CategoricalDistribution(torch.cat([self._predict(tokens) for tokens in self._blocks(batch)]))

    def _blocks(self, batch: Batch) -> Iterator[Tensor]:
        return iter(batch.tokens.split(max(1, _CELLS // batch.tokens.shape[1])))

    def _joint(self, tokens: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Iterate over the lengths n with ln Pr(x_1 .. x_l, n) for l = 0 .. T, float64 (B, T + 1)."""
        count, seen = tokens.shape
        places = torch.arange(seen + 1, dtype=torch.float64, device=tokens.device)
        for span in self._spans:
            joint = (-math.log(len(self._spans)) - places.clamp(max=span) * math.log(self._size)).repeat(count, 1)
            broken = (tokens[:, span:] != tokens[:, :-span]).cummax(1).values
            joint[:, span + 1 :].masked_fill_(broken, -torch.inf)
            yield span, joint

    def _evidence(self, tokens: Tensor) -> Tensor:
        """Return ln Pr(x_1 .. x_l) for l = 0 .. T, float64 (B, T + 1)."""
        total = torch.tensor(-torch.inf, dtype=torch.float64, device=tokens.device)
        for _, joint in self._joint(tokens):
            total = torch.logaddexp(total, joint)
        return total

    def _predict(self, tokens: Tensor) -> Tensor:
        """Return log-probabilities, float64 (B, T, V); that of the token seen is known in log space."""
        evidence = self._evidence(tokens)
        fresh = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)  # Pr(the block goes on)
        chance = fresh.new_zeros(*tokens.shape, self._size)
        for span, joint in self._joint(tokens):
            weight = (joint - evidence)[:, :-1].exp()  # Pr(n | x_<l)
            fresh[:, :span] += weight[:, :span]
            chance[:, span:].scatter_add_(2, tokens[:, :-span, None], weight[:, span:, None])
        chance += fresh[..., None] / self._size
        chance.masked_fill_((evidence[:, :-1] == -torch.inf)[..., None], torch.nan)  # nothing allows x_<l
        return chance.log().scatter_(-1, tokens[..., None], evidence.diff(dim=1)[..., None])
