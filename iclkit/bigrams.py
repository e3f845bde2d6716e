"""Which tokens a source's topics show, and which follows which: exact where the source knows, else estimated."""

from collections.abc import Iterable
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from iclkit.predictors import CategoricalDistribution, Predictor
from iclkit.protocols import Batch


@frozen(kw_only=True, eq=False)
class Bigrams:
    """The marginals of K topics up to order 2.

    Parameters
    ----------
    first : float64 tensor (K, V), the law of the first token.
    unigram : float64 tensor (K, V), the law of a token, averaged over positions.
    pairs : float64 tensor (K, V, V), Pr(x_{l-1} = i, x_l = j) at [k, i, j], averaged over positions l >= 2.

    """

    first: Tensor
    unigram: Tensor
    pairs: Tensor

    def __len__(self) -> int:
        return len(self.first)

    @property
    def transitions(self) -> Tensor:
        """Pr(x_l = j | x_{l-1} = i) at [k, i, j], float64 (K, V, V); NaN after a token that never comes."""
        return self.pairs / self.pairs.sum(-1, keepdim=True)

    def mean(self, weights: Tensor) -> "Bigrams":
        """Return the marginals of the mixture, K = 1; weights (K,) of any positive sum."""
        weights = weights / weights.sum()
        mixed = [torch.tensordot(weights, table, 1)[None] for table in (self.first, self.unigram, self.pairs)]
        return Bigrams(first=mixed[0], unigram=mixed[1], pairs=mixed[2])


def exact_bigrams(source: Any, topics: Any, length: int) -> Bigrams | None:
    """Return the marginals of K topics as the source knows them; None where it does not.

    A source that does has a method `bigrams(topics, length)` that returns `first` (K, V) and `pairs` (K, V, V).
    """
    made = getattr(source, "bigrams", lambda topics, length: None)(topics, length)
    if made is None:
        return None
    first, pairs = made
    return Bigrams(first=first, unigram=(first + (length - 1) * pairs.sum(1)) / length, pairs=pairs)


def estimate_bigrams(
    batches: Iterable[Batch], size: int, oracle: Predictor | None = None, topics: Any = None
) -> Bigrams:
    """Estimate marginals from sequences, of each of K topics, or with topics = None of all together (K = 1).

    Sequences of other topics, told by their numbers, do not count; nor do positions that are not scored.

    Where the oracle has a distribution it is averaged, which has less noise than the tokens themselves. Every row
    begins with the weight of one token spread evenly, so that what a sample happens to lack stays possible, and what
    the sample never shows before any token is followed by all alike.
    """
    count = 1 if topics is None else len(topics)
    first = torch.full((count, size), 1 / size, dtype=torch.float64)
    pairs = torch.full((count * size, size), 1 / size, dtype=torch.float64)  # row k V + i: what follows i in topic k
    for batch in batches:
        shown = _next_tokens(batch, size, oracle)  # (B, T, V)
        topic, known = _places(batch, topics)
        begin, later = batch.mask[:, 0] & known, batch.mask[:, 1:] & known[:, None]
        first.index_add_(0, topic[begin], shown[begin, 0])
        rows = topic[:, None] * size + batch.tokens[:, :-1]
        pairs.index_add_(0, rows[later], shown[:, 1:][later])
    pairs = pairs.view(count, size, size)
    total = first + pairs.sum(1)
    return Bigrams(
        first=first / first.sum(1, keepdim=True),
        unigram=total / total.sum(1, keepdim=True),
        pairs=pairs / pairs.sum((1, 2), keepdim=True),
    )


def _places(batch: Batch, topics: Any) -> tuple[Tensor, Tensor]:
    """Return each sequence's index among topics, int64 (B,), and whether it is there; 0 and True without topics."""
    if topics is None:
        return torch.zeros_like(batch.topic), torch.ones_like(batch.topic, dtype=torch.bool)
    numbers, order = topics.numbers.sort()
    own = batch.topics.numbers[batch.topic]
    place = torch.searchsorted(numbers, own).clamp_(max=len(numbers) - 1)
    return order[place], numbers[place] == own


def _next_tokens(batch: Batch, size: int, oracle: Predictor | None) -> Tensor:
    """Return what the oracle expects at every position, float64 (B, T, V), or else what came."""
    distribution = None if oracle is None else oracle.distribution(batch)
    if isinstance(distribution, CategoricalDistribution):
        return distribution.log_probs.exp()
    return torch.nn.functional.one_hot(batch.tokens, size).to(torch.float64)


def tokens_before(tokens: Tensor, start: int) -> Tensor:
    """Return the token before each, int64 (B, T); `start` before the first."""
    return torch.nn.functional.pad(tokens[:, :-1], (1, 0), value=start)
