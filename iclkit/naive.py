"""Naive predictors of categorical tokens: what a model may know short of the exact optimum.

Static ones know the source's marginals: the distribution of a token, and of a token given the one before, which cost
h_1 and h_2 nats on a stationary source (arXiv 2505.18373, 4.3). In-context ones count in the sequence itself. Retrieval
ones know the marginals of each of K topics.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from iclkit.bigrams import estimate_bigrams, exact_bigrams, tokens_before
from iclkit.predictors import CategoricalDistribution, Predictor, Uniform
from iclkit.protocols import Batch
from iclkit.retrieval import BigramRetrieval, UnigramRetrieval
from iclkit.spaces import Categorical
from iclkit.specs import Facts

_LARGEST = 1 << 25  # numbers in the K tables of pairs (256 MiB), beyond which no topic's own are kept


def naive_predictors(
    source: Any, facts: Facts, topics: Any, weights: Tensor | None, sample: Iterable[Batch], length: int
) -> dict[str, Predictor]:
    """Return the naive predictors that exist for a source, by name; none for real tokens.

    Parameters
    ----------
    source, facts : the built source and what its spec says of it.
    topics, weights : the K topics that a cell knows, with weights (K,) of any positive sum; None where every sequence
        has a topic of its own, then there is no retrieval.
    sample : batches of sequences of these topics, or of fresh ones; looked at only where the source has no exact
        marginals, so an iterator that samples is best.
    length : T, over whose positions marginals are averaged; of no influence for stationary sources.

    uniform, context-unigram and context-bigram need nothing. static-unigram and static-bigram are the marginals of
    the mixture. unigram-retrieval and bigram-retrieval exist for K >= 2 topics with K V^2 < 2^25.

    """
    if not isinstance(facts.space, Categorical):
        return {}
    size = facts.space.size
    known = 1 if topics is None else len(topics)
    own = topics is not None and known * size**2 < _LARGEST
    found = exact_bigrams(source, topics, length) if topics is not None and own else None
    if found is None:
        found = estimate_bigrams(sample, size, getattr(source, "oracle", lambda: None)(), topics if own else None)
    if topics is not None and weights is None:
        weights = torch.ones(known, dtype=torch.float64)
    mean = found.mean(weights) if weights is not None and len(found) == len(weights) else found
    predictors: dict[str, Predictor] = {
        "uniform": Uniform(size),
        "static-unigram": StaticUnigram(mean.unigram[0]),
        "static-bigram": StaticBigram(mean.transitions[0], mean.first[0]),
        "context-unigram": ContextUnigram(size),
        "context-bigram": ContextBigram(size),
    }
    if len(found) > 1 and weights is not None:
        predictors["unigram-retrieval"] = UnigramRetrieval(found.unigram, weights)
        predictors["bigram-retrieval"] = BigramRetrieval(found.transitions, found.first, weights)
    return predictors


class StaticUnigram:
    """The predictor that knows how often each token comes: probabilities (V,)."""

    def __init__(self, probabilities: Tensor):
        self._log_probs = probabilities.to(torch.float64).log()

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln p(x_l), float64 (B, T), nats."""
        return self._log_probs.to(batch.tokens.device)[batch.tokens]

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return p at every position."""
        return CategoricalDistribution(self._log_probs.to(batch.tokens.device).repeat(*batch.tokens.shape, 1))


class StaticBigram:
    """The predictor that knows what follows each token: transitions (V, V) from rows, and of the first, (V,)."""

    def __init__(self, transitions: Tensor, first: Tensor):
        self._log_rows = torch.cat([transitions, first[None]]).to(torch.float64).log()  # row V: before the first

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln p(x_l | x_{l-1}), float64 (B, T), nats."""
        rows = self._log_rows.to(batch.tokens.device)
        return rows[tokens_before(batch.tokens, len(rows) - 1), batch.tokens]

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return p(. | x_{l-1}) at every position; NaN after a token that never comes."""
        rows = self._log_rows.to(batch.tokens.device)
        return CategoricalDistribution(rows[tokens_before(batch.tokens, len(rows) - 1)])


class ContextUnigram:
    """Counts in the sequence itself: (n_j + alpha) / (l - 1 + V alpha), n_j how often j came before position l.

    It is the exact Bayes predictor of independent tokens whose law is Dirichlet(alpha). Raises ValueError unless
    alpha > 0.
    """

    def __init__(self, size: int, alpha: float = 1.0):
        self._size, self._alpha = size, _positive(alpha)

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln p(x_l | x_<l), float64 (B, T), nats."""
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return p(. | x_<l) at every position, float64 (B, T, V)."""
        before = tokens_before(batch.tokens, self._size)  # V before the first: no token, which does not count
        seen = torch.nn.functional.one_hot(before, self._size + 1)
        counts = seen[..., : self._size].to(torch.float64).cumsum_(1)
        return _posterior_mean(counts, self._alpha)


class ContextBigram:
    """Counts what followed x_{l-1} earlier in the sequence: (n_ij + alpha) / (n_i + V alpha); uniform at l = 1.

    It is the exact Bayes predictor of Markov chains whose rows are Dirichlet(alpha) (for l = 1: whose first token is
    uniform). Raises ValueError unless alpha > 0.
    """

    def __init__(self, size: int, alpha: float = 1.0):
        self._size, self._alpha = size, _positive(alpha)

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln p(x_l | x_<l), float64 (B, T), nats."""
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return p(. | x_<l) at every position, float64 (B, T, V); memory is a few times that, whatever V."""
        return _posterior_mean(self._counts(batch.tokens), self._alpha)

    def _counts(self, tokens: Tensor) -> Tensor:
        """Return how often each token followed x_{l-1} before position l, float64 (B, T, V).

        Positions are sorted so that those of a sequence with one predecessor lie together, in order: a count is then
        the running sum before a position, less that before its group.
        """
        (rows, length), width = tokens.shape, self._size + 1
        sequence = torch.arange(rows, device=tokens.device)[:, None]
        group, order = (sequence * width + tokens_before(tokens, self._size)).flatten().sort(stable=True)
        seen = torch.nn.functional.one_hot(tokens.flatten()[order], self._size).to(torch.float64)
        before = seen.cumsum(0).sub_(seen)
        starts = torch.searchsorted(group, group)  # the first place of each position's group
        counts = torch.empty_like(before)
        counts[order] = before.sub_(before[starts])
        return counts.view(rows, length, self._size)


def _posterior_mean(counts: Tensor, alpha: float) -> CategoricalDistribution:
    """Return ln (n_j + alpha) / (n + V alpha) of counts (B, T, V), which are overwritten."""
    total = counts.sum(-1, keepdim=True).add_(counts.shape[-1] * alpha)
    return CategoricalDistribution(counts.add_(alpha).log_().sub_(total.log_()))


def _positive(alpha: float) -> float:
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha, the Dirichlet parameter of every token, must be positive and finite, not {alpha}")
    return alpha
