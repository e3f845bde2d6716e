"""Mixtures of Gaussian predictors merged as they come: memory is that of one block of them.

The weight of a predictor at position l is its prior times the density it gave to the tokens before.
"""

import math
from collections.abc import Callable, Iterable

import torch
from attrs import frozen
from torch import Tensor

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_LEAST = torch.finfo(torch.float64).min  # in place of -inf, which is what predictors of weight 0 have
_TINY = 5e-324


@frozen(eq=False)
class Block:
    """What k predictors say of B sequences.

    Parameters
    ----------
    log_prior : float64 tensor (k,), nats; over all blocks the priors sum to 1.
    log_probs : float64 tensor (k, B, T), nats; may be overwritten.
    average : maps weights (k, B, T) to the weighted sum of the predictors' means, (B, T, o).

    """

    log_prior: Tensor
    log_probs: Tensor
    average: Callable[[Tensor], Tensor]


def mixed_log_prob(blocks: Iterable[Block]) -> Tensor:
    """Return ln P(x_l | x_<l) of the mixture, float64 (B, T), nats."""
    evidence: Tensor | None = None  # ln P(x_1 .. x_l), (B, T)
    for block in blocks:
        joint = block.log_probs.cumsum_(2).add_(block.log_prior[:, None, None])
        merged = _log_sum_exp(joint)
        evidence = merged if evidence is None else torch.logaddexp(evidence, merged)
    assert evidence is not None
    return torch.cat([evidence[:, :1], evidence.diff(dim=1)], dim=1)


def mixed_mean(blocks: Iterable[Block]) -> Tensor:
    """Return the mean of each token given those before it, float64 (B, T, o)."""
    evidence: Tensor | None = None  # ln P(x_1 .. x_{l-1}), (B, T)
    total = torch.zeros(())
    for block in blocks:
        before = block.log_probs.cumsum(2).sub_(block.log_probs).add_(block.log_prior[:, None, None])
        largest = before.amax(0).clamp_(min=_LEAST)
        weights = before.sub_(largest).exp_()
        mass = weights.sum(0)
        mean, merged = block.average(weights) / mass.clamp(min=_TINY)[..., None], mass.log() + largest
        if evidence is None:
            evidence, total = merged, mean
        else:
            both = torch.logaddexp(evidence, merged)
            share = (merged - both).exp().nan_to_num(nan=0.0)  # NaN: no weight so far
            total = total + share[..., None] * (mean - total)
            evidence = both
    return total


def mixed_posterior(blocks: Iterable[Block]) -> Tensor:
    """Return the weights of the predictors given whole sequences, float64 (B, K)."""
    return torch.cat([(block.log_prior[:, None] + block.log_probs.sum(2)).T for block in blocks], dim=1).softmax(1)


def isotropic_log_probs(inputs: Tensor, outputs: Tensor, maps: Tensor, noise: float) -> Tensor:
    """Return ln N(y; x M_k, noise^2 I) of k linear maps, float64 (k, B, n), nats.

    Parameters
    ----------
    inputs, outputs : float64 tensors (B, n, d) and (B, n, p).
    maps : float64 tensor (k, d, p).
    noise : standard deviation.

    """
    size, count, d = inputs.shape
    rows, squares = inputs.reshape(-1, d).T, inputs.new_zeros(len(maps), size * count)
    for wanted, columns in zip(outputs.reshape(-1, outputs.shape[2]).T, maps.unbind(2), strict=True):
        away = torch.addmm(wanted[None], columns, rows, alpha=-1)  # (k, B n)
        squares.addcmul_(away, away)
    constant = outputs.shape[2] * (_HALF_LOG_2PI + math.log(noise))
    return squares.mul_(-0.5 / noise**2).sub_(constant).view(len(maps), size, count)


def _log_sum_exp(joint: Tensor) -> Tensor:
    """Return ln sum exp over the first dim, overwriting."""
    largest = joint.amax(0).clamp_(min=_LEAST)
    return joint.sub_(largest).exp_().sum(0).log_().add_(largest)
