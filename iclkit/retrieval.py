"""Predictors that know the marginals of K topics and infer the topic from these statistics of the prefix alone."""

from collections.abc import Iterator

import torch
from torch import Tensor

from iclkit.bigrams import tokens_before
from iclkit.predictors import CategoricalDistribution
from iclkit.protocols import Batch

_CELLS = 1 << 20  # numbers looked at together


class UnigramRetrieval:
    """Infers which of K topics it is in from how often tokens come, and predicts that topic's unigram.

    Pr(x_l = j | x_<l) = sum_k p_k(j) w_k prod_{m<l} p_k(x_m) / sum_k w_k prod_{m<l} p_k(x_m).

    Parameters
    ----------
    unigram : float64 tensor (K, V).
    weights : float64 tensor (K,), of any positive sum.

    """

    def __init__(self, unigram: Tensor, weights: Tensor):
        # A chain whose rows are all alike: one row, that of no predecessor, serves every position.
        self._chains = _Chains(unigram[:, None], weights)

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln p(x_l | x_<l), float64 (B, T), nats; -inf where no topic allows the token, NaN after."""
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return p(. | x_<l) at every position, float64 (B, T, V)."""
        return self._chains.predict(batch.tokens, torch.zeros_like(batch.tokens))


class BigramRetrieval:
    """Infers which of K topics it is in from which token follows which, and predicts that topic's bigram.

    Parameters
    ----------
    transitions : float64 tensor (K, V, V), Pr(j | i) at [k, i, j].
    first : float64 tensor (K, V), the law of the first token.
    weights : float64 tensor (K,), of any positive sum.

    """

    def __init__(self, transitions: Tensor, first: Tensor, weights: Tensor):
        # What never comes in a topic is followed by nothing there: 0, so that the topic is out.
        self._chains = _Chains(torch.cat([transitions.nan_to_num(nan=0.0), first[:, None]], dim=1), weights)

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln p(x_l | x_<l), float64 (B, T), nats; -inf where no topic allows the token, NaN after."""
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return p(. | x_<l) at every position, float64 (B, T, V)."""
        return self._chains.predict(batch.tokens, tokens_before(batch.tokens, self._chains.contexts - 1))


class _Chains:
    """The Bayes mixture of K tables of rows, float64 (K, C, V), with weights (K,) of any positive sum."""

    def __init__(self, rows: Tensor, weights: Tensor):
        self._rows = rows.to(torch.float64)
        self._log_prior = (weights / weights.sum()).log()
        self._possible = (self._rows > 0).any(0)  # (C, V)

    @property
    def contexts(self) -> int:
        """C, how many rows a table has."""
        return self._rows.shape[1]

    def predict(self, tokens: Tensor, context: Tensor) -> CategoricalDistribution:
        """Return the mixed predictions, float64 (B, T, V), of tokens (B, T), each in its context (B, T)."""
        found = torch.empty(*tokens.shape, self._rows.shape[2], dtype=torch.float64, device=tokens.device)
        height = max(1, _CELLS // (tokens.shape[1] * len(self._log_prior)))
        for rows in (slice(top, top + height) for top in range(0, len(tokens), height)):
            steps = self._rows[:, context[rows], tokens[rows]].log().permute(1, 2, 0)  # (b, T, K)
            prior = self._log_prior.expand(len(steps), 1, -1)
            evidence = torch.cat([prior, steps], dim=1).cumsum(1)  # before each position, and after the last
            mixed = self._mixed(evidence[:, :-1].flatten(0, 1), context[rows].flatten())
            seen = torch.logsumexp(evidence, dim=2).diff(dim=1)  # in logarithms: whatever its size
            found[rows] = mixed.view(*tokens[rows].shape, -1).scatter(-1, tokens[rows][..., None], seen[..., None])
        return CategoricalDistribution(found)

    def _mixed(self, evidence: Tensor, context: Tensor) -> Tensor:
        """Return log-probabilities (n, V) after evidence (n, K) in contexts (n,), one context after the other."""
        posterior, found = evidence.softmax(1), evidence.new_empty(len(evidence), self._rows.shape[2])
        for each, places in _grouped(context):
            rows = self._rows[:, each]
            mixed = (posterior[places] @ rows).log()
            remote = places[((mixed == -torch.inf) & self._possible[each]).any(1)]
            found[places] = mixed
            for part in remote.split(max(1, _CELLS // rows.numel())):  # beyond the reach of a float64 weight
                joint = torch.logsumexp(evidence[part, :, None] + rows.log(), dim=1)
                found[part] = joint - torch.logsumexp(evidence[part], dim=1, keepdim=True)
        return found


def _grouped(values: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Iterate over (value, its places) of an int64 tensor (n,)."""
    order = values.argsort(stable=True)
    present, counts = torch.unique_consecutive(values[order], return_counts=True)
    return zip(present.tolist(), order.split(counts.tolist()), strict=True)
