"""Mixtures of Gaussian predictors merged as they come: memory is that of one block of them.

A block is (log_weights (k,), means (k, B, T, o), log_probs (k, B, T)) of k predictors on B sequences: the weight of
a predictor at position l is its prior times the probability it gave to the tokens before.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

Block = tuple[Tensor, Tensor, Tensor]


def mixed_log_prob(blocks: Iterable[Block]) -> Tensor:
    """Return ln P(x_l | x_<l) of the mixture, float64 (B, T), nats."""
    evidence: Tensor | None = None  # ln P(x_1 .. x_l), (B, T + 1) from l = 0 on
    for log_weights, _, log_probs in blocks:
        joint = torch.cat([log_probs.new_zeros(*log_probs.shape[:2], 1), log_probs.cumsum(2)], dim=2)
        merged = (joint + log_weights[:, None, None]).logsumexp(0)
        evidence = merged if evidence is None else torch.logaddexp(evidence, merged)
    assert evidence is not None
    return evidence.diff(dim=1)


def mixed_mean(blocks: Iterable[Block]) -> Tensor:
    """Return the mean of each token given those before it, float64 (B, T, o)."""
    evidence: Tensor | None = None  # ln P(x_1 .. x_{l-1}), (B, T)
    total = torch.zeros(())
    for log_weights, means, log_probs in blocks:
        before = log_probs.cumsum(2) - log_probs + log_weights[:, None, None]
        merged = before.logsumexp(0)
        mean = torch.einsum("kbt,kbto->bto", (before - merged).exp(), means)
        if evidence is None:
            evidence, total = merged, mean
        else:
            both = torch.logaddexp(evidence, merged)
            total = total + (merged - both).exp()[..., None] * (mean - total)
            evidence = both
    return total


def mixed_posterior(blocks: Iterable[Block]) -> Tensor:
    """Return the weights of the predictors given whole sequences, float64 (B, K)."""
    joint = [(log_weights[:, None] + log_probs.sum(2)).T for log_weights, _, log_probs in blocks]
    return torch.cat(joint, dim=1).softmax(1)
