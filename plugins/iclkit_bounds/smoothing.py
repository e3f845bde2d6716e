"""Certified predictors: mixed with a fixed predictor that fears nothing, so that the loss is bounded.

Every certificate is about such a predictor p~, made from the model's p, and says so. Log-likelihoods come in as sums
over a sequence or a block, natural logarithms; losses go out in nats per token.
"""

import math

import numpy as np
from attrs import frozen
from numpy.typing import ArrayLike

from iclkit_bounds.units import Array


@frozen(kw_only=True, eq=False)
class Smoothed:
    """The losses of a certified predictor and what is known about them.

    Parameters
    ----------
    losses : float64, nats per token, one for each sequence (and block, or token).
    upper : B; no sequence whatever has a larger loss. Of blocks: (blocks,).
    least : no sequence whatever has a smaller loss. Of blocks: (blocks,).
    cost : the loss is at most this much above the model's own on any sequence, nats per token. Of blocks: (blocks,).
    model_weight : mean over sequences of the posterior weight that the mixture leaves on the model at the end; near
        0 the certificate is about the fixed predictor. Of blocks: (blocks,).

    """

    losses: Array
    upper: Array
    least: Array
    cost: Array
    model_weight: Array


def seq_mix(log_likelihoods: ArrayLike, length: int, size: int, weight: float = 0.1) -> Smoothed:
    """Mix whole sequences with the uniform predictor: p~(x) = (1-a) p(x) + a V^-T.

    Statement: with certainty, -ln p~(x)/T <= B = ln V + ln(1/a)/T and <= -ln p(x)/T + ln(1/(1-a))/T. It is the Bayes
    mixture of two experts, so a legal next-token predictor: (1-u_t) / V + u_t p(x_t | x_<t) with u_t the posterior
    weight of the model. Proof: p~ is at least either term. Source: derived here; the two-expert mixture is the
    textbook one.

    Parameters
    ----------
    log_likelihoods : sums of ln p over a sequence, (...), -inf allowed.
    length : T, tokens that the sum is over.
    size : V.
    weight : a, fixed before any loss is looked at.

    Raises ValueError for a positive or undefined log-likelihood, or a weight outside (0, 1).

    """
    return _mixed(log_likelihoods, np.asarray(length), size, weight)


def block_mix(log_likelihoods: ArrayLike, lengths: ArrayLike, size: int, weight: float = 0.1) -> Smoothed:
    """Restart `seq_mix` at the head of every block: what a certificate resolved by position needs.

    `log_likelihoods` (..., blocks): sums of ln p(x_t | x_<t) over a block's tokens, given all tokens before; `lengths`
    (blocks,) tokens of each. For a block of b tokens B = ln V + ln(1/a)/b at a cost of at most ln(1/(1-a))/b.
    Everything that `seq_mix` says holds for each block, given what came before. Source: derived here.
    """
    return _mixed(log_likelihoods, np.asarray(lengths), size, weight)


def token_mix(log_probs: ArrayLike, size: int, weight: float = 0.01) -> Smoothed:
    """Mix every single next-token probability with the uniform one: (1-a) p + a/V (Lotfi et al. 2023, 2024).

    Statement: with certainty a token's loss lies in [-ln(1-a+a/V), ln(V/a)] and is at most ln(1/(1-a)) above the
    model's. `log_probs` (..., T); the losses keep that shape, for their mean over a sequence the same range holds.
    For sequences `seq_mix` has a smaller range at a smaller cost: this one is for claims about tokens, and to compare.
    """
    return _mixed(log_probs, np.asarray(1), size, weight)


def _mixed(sums: ArrayLike, lengths: Array, size: int, weight: float) -> Smoothed:
    """Mix what `sums` (..., *lengths.shape) are the log-likelihoods of with the uniform predictor."""
    logs = np.asarray(sums, np.float64)
    if not 0 < weight < 1:
        raise ValueError(f"the weight of the uniform predictor must lie strictly between 0 and 1, not be {weight}")
    if not (logs <= 1e-6).all():  # what is above 0 by rounding is lowered to it, which only raises the loss
        raise ValueError("a log-likelihood of tokens must be at most 0 and defined; -inf is allowed")
    logs = np.minimum(logs, 0.0)
    uniform = -lengths * math.log(size)
    mixed = np.logaddexp(math.log1p(-weight) + logs, math.log(weight) + uniform)
    upper = math.log(size) - math.log(weight) / lengths
    least = -np.logaddexp(math.log1p(-weight), math.log(weight) + uniform) / lengths
    kept = np.exp(math.log1p(-weight) + logs - mixed)
    return Smoothed(
        losses=np.clip(-mixed / lengths, least, upper),  # they lie there on paper; rounding may differ
        upper=upper,
        least=least,
        cost=-math.log1p(-weight) / lengths,
        model_weight=kept.reshape(-1, *lengths.shape).mean(0),
    )
