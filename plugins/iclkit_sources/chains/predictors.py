"""Exact predictors of Markov chains: one known, a mixture of known ones, or only the Dirichlet law of their rows."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from iclkit.api import Batch, CategoricalDistribution

_CELLS = 1 << 20  # (position, chain) pairs, or counts, looked at together


class ChainOracle:
    """The predictor that knows each sequence's chain, of order m."""

    def __init__(self, order: int):
        self._order = order

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l, topic), float64 (B, T), nats; -inf at an impossible token, NaN after."""
        rows = batch.topics.log_rows
        _, contexts, size = rows.shape
        before = contexts_before(batch.tokens, size, contexts)
        place = ((batch.topic[:, None] * contexts + before) * size) + batch.tokens
        found = rows.flatten()[place]
        found[:, : self._order] = -math.log(size)
        return _mask_after(found)

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return the row of each context, float64 (B, T, V)."""
        rows = batch.topics.log_rows
        _, contexts, size = rows.shape
        found = rows[batch.topic[:, None], contexts_before(batch.tokens, size, contexts)]
        found[:, : self._order] = -math.log(size)
        own = found.gather(-1, batch.tokens[..., None]).squeeze(-1)
        return CategoricalDistribution(found.masked_fill(_mask_after(own).isnan()[..., None], torch.nan))


class ChainMixture:
    """The predictor that knows some chains, log_rows (K, C, V), and weights (K,) of any positive sum; infers which.

    A chain's evidence is a sum of logarithms of its rows, so all chains and positions of a block are looked at
    together; memory does not grow with topics times sequences times positions.
    """

    def __init__(self, log_rows: Tensor, weights: Tensor, order: int):
        self._rows, self._order = log_rows, order
        self._entries = log_rows.flatten(1).T.contiguous()  # (C * V, K)
        self._log_prior = (weights / weights.sum()).log()

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l), float64 (B, T), nats; -inf where no chain allows the token, NaN after."""
        found = torch.empty(batch.tokens.shape, dtype=torch.float64, device=batch.tokens.device)
        for rows, columns, _, evidence in self._blocks(batch.tokens):
            found[rows, columns] = torch.logsumexp(evidence, dim=2).diff(dim=1)
        return found

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return Pr(. | x_<l) at every position, float64 (B, T, V)."""
        size = self._rows.shape[2]
        found = torch.empty(*batch.tokens.shape, size, dtype=torch.float64, device=batch.tokens.device)
        for rows, columns, before, evidence in self._blocks(batch.tokens):
            mixed = self._predict(evidence[:, :-1].flatten(0, 1), before.flatten())
            seen = torch.logsumexp(evidence, dim=2).diff(dim=1)[..., None]  # in logarithms, whatever its size
            found[rows, columns] = mixed.unflatten(0, before.shape).scatter(-1, batch.tokens[rows, columns, None], seen)
        found[:, : self._order] = -math.log(size)
        return CategoricalDistribution(found)

    def posterior(self, batch: Batch) -> Tensor:
        """Return Pr(topic | whole sequence), float64 (B, K); NaN where no chain allows the sequence."""
        found = self._log_prior.new_empty(len(batch), len(self._log_prior))
        for rows, _, _, evidence in self._blocks(batch.tokens):
            found[rows] = evidence[:, -1].softmax(1)  # the last block of a sequence stays
        return found

    def _blocks(self, tokens: Tensor) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
        """Iterate over blocks (b, t): their place, contexts (b, t), and evidence (b, t+1, K) before and after each."""
        _, contexts, size = self._rows.shape
        topics = len(self._log_prior)
        width = min(tokens.shape[1], max(1, _CELLS // topics))
        height = max(1, _CELLS // (topics * width))
        for top in range(0, len(tokens), height):
            rows = slice(top, top + height)
            before = contexts_before(tokens[rows], size, contexts)
            evidence = self._log_prior.expand(len(before), 1, topics)
            for left in range(0, tokens.shape[1], width):
                columns = slice(left, left + width)
                steps = self._entries[before[:, columns] * size + tokens[rows, columns]]  # (b, t, K)
                if left < self._order:
                    steps[:, : self._order - left] = -math.log(size)
                carried = evidence[:, -1:] - torch.logsumexp(evidence[:, -1:], dim=2, keepdim=True)
                evidence = torch.cat([carried, steps], dim=1).cumsum(1)
                yield rows, columns, before[:, columns], evidence

    def _predict(self, evidence: Tensor, context: Tensor) -> Tensor:
        """Return log-probabilities (n, V) after evidence (n, K) in contexts (n,), one context after the other."""
        found = evidence.new_empty(len(evidence), self._rows.shape[2])
        order = context.argsort(stable=True)
        present, counts = torch.unique_consecutive(context[order], return_counts=True)
        posterior = evidence.softmax(1)
        for each, which in zip(present.tolist(), order.split(counts.tolist()), strict=True):
            rows = self._rows[:, each]
            mixed = (posterior[which] @ rows.exp()).log()
            remote = which[(mixed == -torch.inf).any(1)]
            found[which] = mixed
            for part in remote.split(max(1, _CELLS // rows.numel())):  # beyond the reach of a float64 weight
                joint = torch.logsumexp(evidence[part, :, None] + rows, dim=1)
                found[part] = joint - torch.logsumexp(evidence[part], dim=1, keepdim=True)
        return found


class ConjugateChain:
    """The predictor that knows only that rows are Dirichlet(prior): (n_cv + a_v) / (n_c + sum a), prior (V,)."""

    def __init__(self, prior: Tensor, order: int):
        self._prior, self._order = prior, order

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l), float64 (B, T), nats."""
        return torch.cat([self._follow(tokens, every=False) for tokens in self._parts(batch.tokens)])

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return the posterior predictive at every position, float64 (B, T, V)."""
        return CategoricalDistribution(
            torch.cat([self._follow(part, every=True) for part in self._parts(batch.tokens)])
        )

    def _parts(self, tokens: Tensor) -> tuple[Tensor, ...]:
        return tokens.split(max(1, 4 * _CELLS // len(self._prior) ** (self._order + 1)))

    def _follow(self, tokens: Tensor, every: bool) -> Tensor:
        """Return log-probabilities of tokens (B, T), or of every token (B, T, V)."""
        size = len(self._prior)
        contexts = size**self._order
        before = contexts_before(tokens, size, contexts)
        prior = self._prior.to(tokens.device)
        counts = prior.repeat(len(tokens) * contexts, 1)  # prior included, (B * C, V)
        at = torch.arange(len(tokens), device=tokens.device) * contexts
        found = []
        for step, token in enumerate(tokens.T):
            if step < self._order:
                row = torch.full((len(tokens), size), 1 / size, dtype=torch.float64, device=tokens.device)
            else:
                place = at + before[:, step]
                row = counts[place]
                counts[place, token] += 1
            chosen = row if every else row.gather(1, token[:, None])
            found.append(chosen.log() - row.sum(1, keepdim=True).log())
        result = torch.stack(found, dim=1)
        return result if every else result.squeeze(-1)


def next_context(context: Tensor, token: Tensor, size: int, contexts: int) -> Tensor:
    """Return the context that a token leads to, int64; only the last m tokens count."""
    return (context * size + token) % contexts


def contexts_before(tokens: Tensor, size: int, contexts: int) -> Tensor:
    """Return the context before every token, int64 (B, T), as if zeros came before the first."""
    before, weight, back = torch.zeros_like(tokens), 1, 1
    while weight < contexts:
        before[:, back:] += tokens[:, :-back] * weight if back < tokens.shape[1] else 0
        weight, back = weight * size, back + 1
    return before


def _mask_after(log_prob: Tensor) -> Tensor:
    """Make NaN what comes after an impossible token."""
    dead = (log_prob == -torch.inf).cumsum(1)
    return log_prob.masked_fill(dead - (log_prob == -torch.inf).to(torch.int64) > 0, torch.nan)
