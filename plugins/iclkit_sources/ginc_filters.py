"""Exact GINC filters: what follows, given all tokens before and one topic or a mixture of topics.

Beliefs live on the states that show the last token and move by the factors of the transition,
Pr(e', p' | e, p) = A[e, e'] Pi[p, p'] (arXiv 2111.02080). They are scaled at every step and topics compared by
log-evidence; no probability is floored. Where a topic rules a history out its belief is 0 and its evidence -inf.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from iclkit.api import Batch, CategoricalDistribution
from iclkit_sources.ginc_live import LiveStates, Pairs, Slots
from iclkit_sources.ginc_topics import GincTopics

_CELLS = 1 << 18  # pairs times topics looked at together
_STEPS = 64  # steps looked at together; log-evidence is normalised after them
_ROWS = 256  # sequences that go through time together
_SMALLEST = 5e-324


class _Filter:
    """Filters sequences over K topics each, a window of time after the other.

    Parameters
    ----------
    topics : all topics.
    log_prior : float64 tensor (K,).

    """

    def __init__(self, topics: GincTopics, log_prior: Tensor):
        self._topics, self._log_prior = topics, log_prior
        self._live = LiveStates.of(topics.memory, topics.symbols)
        self._shown = topics.memory.flatten()

    def _first(self, rows: Tensor) -> Tensor:
        """Return Pr(first state), float64 (E * P, K, B) or (E * P, K, 1), of these rows of the batch."""
        raise NotImplementedError

    def _moves(self, before: Tensor, after: Tensor, rows: Tensor) -> Tensor:
        """Return Pr(state after | state before) of pairs, float64 (M, K)."""
        raise NotImplementedError

    def _next_states(self, states: Tensor, joint: Tensor, rows: Tensor) -> Tensor:
        """Return Pr(next state), float64 (n, E * P), from weights (n, S, K) of some states (S,) and topics."""
        raise NotImplementedError
