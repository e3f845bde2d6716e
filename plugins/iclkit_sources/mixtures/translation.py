"""A component's tokens and the mixture's: a predictor of local tokens as one of global tokens."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from iclkit.api import Batch, CategoricalDistribution


class Vocabulary:
    """A one-to-one map from a component's tokens to some of `size` global ones."""

    def __init__(self, tokens: Sequence[int], size: int):
        self._tokens = torch.tensor(tokens, dtype=torch.int64)
        self._local = torch.full((size,), -1, dtype=torch.int64)
        self._local[self._tokens] = torch.arange(len(tokens))

    def to_global(self, tokens: Tensor) -> Tensor:
        """Return the global tokens of local ones, int64 of any shape."""
        return self._tokens.to(tokens.device)[tokens]

    def to_local(self, tokens: Tensor) -> Tensor:
        """Return the local tokens of global ones, int64 of any shape; -1 where there is none."""
        return self._local.to(tokens.device)[tokens]

    def spread(self, log_probs: Tensor) -> Tensor:
        """Return log-probabilities (B, T, local) over global tokens (B, T, V), -inf where there is no local one."""
        spread = log_probs.new_full((*log_probs.shape[:-1], len(self._local)), -torch.inf)
        spread[..., self._tokens.to(log_probs.device)] = log_probs
        return spread


class Translated:
    """A component's predictor, asked about global tokens; those it lacks are impossible to it."""

    def __init__(self, predictor: Any, vocabulary: Vocabulary):
        self._predictor, self._vocabulary = predictor, vocabulary

    def log_prob(self, batch: Batch) -> Tensor:
        """Return float64 (B, T), nats; -inf at a token the component lacks, NaN after."""
        local, lacking, after = self._translate(batch)
        return self._predictor.log_prob(local).masked_fill(lacking, -torch.inf).masked_fill(after, torch.nan)

    def distribution(self, batch: Batch) -> CategoricalDistribution | None:
        """Return the component's distributions over global tokens; None if it has none."""
        local, _, after = self._translate(batch)
        distribution = self._predictor.distribution(local)
        if distribution is None:
            return None
        spread = self._vocabulary.spread(distribution.log_probs)
        return CategoricalDistribution(spread.masked_fill(after[..., None], torch.nan))

    def _translate(self, batch: Batch) -> tuple[Batch, Tensor, Tensor]:
        """Return the batch in local tokens, where a token is lacking, and where one was before; bool (B, T)."""
        tokens = self._vocabulary.to_local(batch.tokens)
        lacking = tokens < 0
        after = (lacking.cumsum(1) - lacking.to(torch.int64)) > 0
        return batch.replace(tokens=tokens.clamp(min=0)), lacking, after
