"""Exact floors of Markov chains and dice, by enumerating how often what followed what.

All that a word tells about its chain is its first context and its counts n of what followed each context, and many
words share them: level l holds every (counts, context) that l - 1 tokens can lead to with the number of its words.
There are about l^(V-1) of them for dice and l^(C(V-1)) for chains of C contexts, so this ends early for large ones.
Under a Dirichlet law the row of a context is Dirichlet(a + n_c) given the word, whose entropy has the mean
psi(A+1) - sum_v a_v/A psi(a_v+1): so the expected loss of the oracle is known on the same levels.
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Exact
from iclkit_sources.coins.counting import constant
from iclkit_sources.machines.stationary import stationary

WORDS = 1_000_000
"""How many (counts, context) are looked at over all positions."""
CELLS = 32_000_000
"""How many numbers the counts of one level, or its evidence by chain, may have."""
STEPS = 4_000_000_000
"""How many numbers are touched at most in following the contexts of known chains."""
CONTEXTS = 512
"""How many contexts a chain may have for its stationary distribution to be computed."""

Law = Callable[["_Level"], tuple[Tensor, Tensor]]


@frozen(eq=False)
class _Level:
    """Counts (n, C, V), the context they end in (n,), and the logarithm of how many words have them (n,)."""

    counts: Tensor
    context: Tensor
    log_words: Tensor


def drawn_floor(prior: Tensor, order: int, length: int, known: bool) -> Exact:
    """Return h_l of chains with Dirichlet(prior) rows, nats; with `known` the mean loss of who knows the chain.

    Computed once per process: it says nothing of any topic, so that all cells of a sweep ask for the same.
    """
    found = _drawn_floor(tuple(prior.tolist()), order, length, known)
    for array in (found.values, found.error):
        array.setflags(write=False)  # it is shared
    return found


@lru_cache(maxsize=64)
def _drawn_floor(concentrations: tuple[float, ...], order: int, length: int, known: bool) -> Exact:
    prior = torch.tensor(concentrations, dtype=torch.float64)
    if known and order == 0:
        return constant(float(_mean_entropy(prior)), length)
    empty = torch.lgamma(prior.sum()) - torch.lgamma(prior).sum()

    def law(level: _Level) -> tuple[Tensor, Tensor]:
        """Return the probability of each word and the mean entropy of what follows it."""
        after = level.counts + prior
        log_chance = (empty + torch.lgamma(after).sum(2) - torch.lgamma(after.sum(2))).sum(1)
        row = after[torch.arange(len(after)), level.context]
        entropy = _mean_entropy(row) if known else torch.special.entr(row / row.sum(1, keepdim=True)).sum(1)
        return log_chance, entropy

    return _enumerate(law, len(prior), order, length, 1)


def mixture_floor(rows: Tensor, weights: Tensor, order: int, length: int) -> Exact:
    """Return h_l of a mixture of known chains, nats; rows are ln Pr(v | context), (K, C, V), weights sum to 1."""
    finite = rows.masked_fill(rows == -torch.inf, 0.0).flatten(1).T  # (C * V, K)
    impossible = (rows == -torch.inf).double().flatten(1).T
    chances, log_weights = rows.exp(), weights.log()

    def law(level: _Level) -> tuple[Tensor, Tensor]:
        counts = level.counts.flatten(1)
        evidence = (counts @ finite).masked_fill_(counts @ impossible > 0, -torch.inf) + log_weights  # (n, K)
        log_chance = torch.logsumexp(evidence, dim=1)
        posterior = (evidence - log_chance[:, None]).exp().nan_to_num_(nan=0.0)
        entropy = torch.zeros_like(log_chance)
        for context in level.context.unique().tolist():
            which = level.context == context
            entropy[which] = torch.special.entr(posterior[which] @ chances[:, context]).sum(1)
        return log_chance, entropy

    return _enumerate(law, rows.shape[2], order, length, len(rows))


def oracle_floor(rows: Tensor, weights: Tensor, order: int, length: int) -> Exact:
    """Return the weighted mean of known chains' own h_l, nats, by following how likely each context is."""
    count, contexts, size = rows.shape
    chances, entropy = rows.exp(), torch.special.entr(rows.exp()).sum(2)
    if order == 0:
        return constant(float(weights @ entropy[:, 0]), length)
    values = np.full(length, math.log(size))
    values[order + STEPS // chances.numel() :] = np.nan
    at = torch.full((count, contexts), 1 / contexts, dtype=torch.float64)
    for position in range(order, min(length, order + STEPS // chances.numel())):
        values[position] = float(weights @ (at * entropy).sum(1))
        at = (at[..., None] * chances).unflatten(1, (size, -1)).sum(1).flatten(1)  # the oldest token is forgotten
    error = np.where(np.isnan(values), np.nan, 1e-13 + 1e-15 * np.arange(length))
    return Exact(values=values, method="closed-form", error=error)


def entropy_rate(rows: Tensor, weights: Tensor) -> Exact | None:
    """Return the weighted mean entropy rate of known chains, nats, shape (1,); None beyond 512 contexts."""
    contexts, size = rows.shape[1:]
    if contexts > CONTEXTS:
        return None
    context = torch.arange(contexts)
    following = (context[:, None] * size + torch.arange(size)) % contexts
    value = 0.0
    for row, weight in zip(rows.exp(), weights.tolist(), strict=True):
        chain = torch.zeros(contexts, contexts, dtype=torch.float64)
        chain.index_put_((context[:, None].expand_as(following), following), row, accumulate=True)
        value += weight * float(stationary(chain[None])[0] @ torch.special.entr(row).sum(1))
    return constant(value, 1)


def _enumerate(law: Law, size: int, order: int, length: int, width: int) -> Exact:
    """Average the entropies of `law` over the words of each level; it spends `width` numbers on each."""
    values, error = np.full(length, np.nan), np.full(length, np.nan)
    contexts = size**order
    values[:order], error[:order] = math.log(size), 1e-15
    if order >= length or contexts * max(contexts * size, width) > CELLS:
        return Exact(values=values, method="belief-enumeration", error=error)
    levels = _levels(size, contexts)
    spent = 0
    for position in range(order, length):
        level = next(levels)
        spent += len(level.context)
        if spent > WORDS or len(level.context) * max(contexts * size, width) > CELLS:
            break
        log_chance, entropy = law(level)
        chance = (log_chance + level.log_words).exp() / contexts
        values[position] = float(torch.where(chance > 0, chance * entropy, 0.0).sum())
        error[position] = 1e-13 + 1e-14 * position  # rounding of the logarithms
    return Exact(values=values, method="belief-enumeration", error=error)


def _levels(size: int, contexts: int) -> Iterator[_Level]:
    """Iterate over the levels from the first that knows a context on."""
    factors = np.random.Generator(np.random.PCG64(0)).integers(-(2**63), 2**63, (contexts, size + 1), dtype=np.int64)
    codes, ends = torch.from_numpy(factors[:, :size] | 1), torch.from_numpy(factors[:, size] | 1)
    level = _Level(
        torch.zeros(contexts, contexts, size, dtype=torch.float64),
        torch.arange(contexts),
        torch.zeros(contexts, dtype=torch.float64),
    )
    while True:
        yield level
        parents = torch.arange(len(level.context)).repeat_interleave(size)
        token = torch.arange(size).repeat(len(level.context))
        context = level.context[parents]
        onward = (context * size + token) % contexts
        digest = (level.counts.long() * codes).sum((1, 2))[parents] + codes[context, token] + ends[onward]  # wraps
        digest, order = digest.sort(stable=True)
        first = torch.cat([torch.ones(1, dtype=torch.bool), digest.diff() != 0]).nonzero().squeeze(1)
        log_words = np.logaddexp.reduceat(level.log_words[parents[order]].numpy(), first.numpy())
        chosen = order[first]
        counts = level.counts[parents[chosen]]
        counts[torch.arange(len(chosen)), context[chosen], token[chosen]] += 1
        level = _Level(counts, onward[chosen], torch.from_numpy(log_words))


def _mean_entropy(prior: Tensor) -> Tensor:
    """Return E[H(theta)] under Dirichlet(prior), prior (..., V), nats."""
    total = prior.sum(-1)
    return torch.digamma(total + 1) - (prior * torch.digamma(prior + 1)).sum(-1) / total
