"""A predictor's loss, and how far the model is above a reference, with as little noise as the truth allows."""

from typing import Any

import torch
from torch import Tensor

from iclkit.api import ScoredBatch, cross_entropy, entropy, kl

BY_KL = "mean KL divergence from the reference"
BY_PAIRS = "paired difference on realised tokens"


def expected_loss(batch: ScoredBatch, predictor: Any) -> Tensor:
    """Return a predictor's loss, float64 (B, T), averaged over the next token where the truth is known, else realised.

    Where only the truth has a distribution, the part of the noise that both share is averaged away.
    """
    truth = truth_of(batch)
    if truth is None:
        return -predictor.log_prob(batch)
    distribution = predictor.distribution(batch)
    if distribution is None:
        return entropy(truth) + truth.log_prob(batch.tokens) - predictor.log_prob(batch)
    return cross_entropy(truth, distribution)


def above(batch: ScoredBatch, reference: Any) -> tuple[Tensor, str]:
    """Return the model's loss above a reference, float64 (B, T), and how: D_KL(reference, model), or paired."""
    if batch.lawful:
        lower, upper = reference.distribution(batch), batch.model.distribution(batch)
        if lower is not None and upper is not None:
            return kl(lower, upper), BY_KL
    return log_ratio(batch, reference), BY_PAIRS


def log_ratio(batch: ScoredBatch, reference: Any) -> Tensor:
    """Return ln P_reference / P_model of the realised tokens, float64 (B, T).

    NaN where the reference rules the history or the token out; inf where the model alone does.
    """
    known = reference.log_prob(batch)
    return (known - batch.model.log_prob(batch)).where(known.isfinite(), torch.nan)


def divergence(batch: ScoredBatch, name: str) -> Tensor:
    """Return D_KL(reference, model) at every prefix, float64 (B, T), nats.

    Without closed forms the log-ratio of the realised tokens, which has that mean where the reference is their law (the
    optimum and the oracle, on all splits but train), and NaN elsewhere.
    """
    reference = batch.references[name]
    lower, upper = reference.distribution(batch), batch.model.distribution(batch)
    if lower is not None and upper is not None:
        return kl(lower, upper)
    if batch.lawful and (name == "oracle" or reference is batch.references.get(batch.optimum or "")):
        return log_ratio(batch, reference)
    return torch.full(batch.mask.shape, torch.nan, dtype=torch.float64)


def truth_of(batch: ScoredBatch) -> Any:
    """Return the oracle's distribution where averaging under it is right, else None."""
    if not batch.lawful or "oracle" not in batch.references:
        return None
    return batch.references["oracle"].distribution(batch)
