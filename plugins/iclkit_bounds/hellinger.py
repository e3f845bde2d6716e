"""The token martingale of Hellinger distances: a check against numbers that can be computed exactly, no headline.

For tokens x_t of the training sequences with true conditionals P_t and predictions p_t, Z_t = ln P_t(x_t) / p_t(x_t)
and H_t^2 = sum_x (sqrt P_t - sqrt p_t)^2. What is bounded is a mean over *training prefixes*, not a population loss;
where the source is known it can be computed, `exact_loss`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from iclkit_bounds.units import Array, checked_delta


def hellinger_limit(log_ratios: ArrayLike, delta: float, divergence: float = 0.0) -> float:
    """Return (1/m) [sum Z_t + 2 KL + 2 ln(1/delta)], an upper limit of (1/m) E_Q sum H_t^2.

    Statement: with probability at least 1 - delta over m tokens, for all posteriors Q at once (or all codes, the code
    length in nats for KL). Z_t are E_Q averages, `log_ratios` (m,), all sequences in one; no range is needed and the
    rate is fast.

    Proof: E[exp(-Z_t/2) | past] = sum_x sqrt(P_t p_t) = 1 - H_t^2 / 2 <= exp(-H_t^2 / 2), so exp sum (H_t^2 - Z_t) / 2
    has mean at most 1; change of measure, Markov. Derived here, after van de Geer (2000) and Zhang (2006).
    """
    ratios = np.asarray(log_ratios, np.float64).ravel()
    return float(ratios.mean() + 2 * (divergence + math.log(1 / checked_delta(delta))) / ratios.size)


def token_kl_limit(log_ratios: ArrayLike, delta: float, largest_ratio: float, divergence: float = 0.0) -> float:
    """Return (2 + C) times `hellinger_limit`, an upper limit of (1/m) E_Q sum KL(P_t, p_t), nats per token.

    `largest_ratio` is C >= ln P_t(x) / p_t(x) for every token x: ln(V/a) under `token_mix`. KL <= (2 + C) H^2 is Yang
    and Barron (1998), Lemma 4. Statement as `hellinger_limit`.
    """
    if largest_ratio < 0:
        raise ValueError("the largest log-ratio of two distributions is at least 0")
    return (2 + largest_ratio) * hellinger_limit(log_ratios, delta, divergence)


def token_loss_limit(
    log_ratios: ArrayLike, true_log_probs: ArrayLike, delta: float, largest_ratio: float, divergence: float = 0.0
) -> float:
    """Return mean entropy of P_t plus `token_kl_limit`: an upper limit of `exact_loss`, nats per token.

    `true_log_probs` (..., V): ln P_t at the training prefixes.
    """
    return float(_entropy(true_log_probs).mean()) + token_kl_limit(log_ratios, delta, largest_ratio, divergence)


def exact_loss(true_log_probs: ArrayLike, log_probs: ArrayLike) -> float:
    """Return mean over tokens of -sum_x P_t(x) ln p_t(x) = H(P_t) + KL(P_t, p_t), nats per token; arrays (..., V)."""
    truth, model = np.asarray(true_log_probs, np.float64), np.asarray(log_probs, np.float64)
    allowed = truth > -np.inf
    with np.errstate(invalid="ignore"):
        return float(-np.where(allowed, np.exp(truth) * model, 0.0).sum(-1).mean())


def exact_hellinger(true_log_probs: ArrayLike, log_probs: ArrayLike) -> float:
    """Return mean over tokens of sum_x (sqrt P_t - sqrt p_t)^2; arrays (..., V)."""
    truth, model = np.asarray(true_log_probs, np.float64), np.asarray(log_probs, np.float64)
    return float(((np.exp(truth / 2) - np.exp(model / 2)) ** 2).sum(-1).mean())


def _entropy(log_probs: ArrayLike) -> Array:
    logs = np.asarray(log_probs, np.float64)
    with np.errstate(invalid="ignore"):
        return -np.where(logs > -np.inf, np.exp(logs) * logs, 0.0).sum(-1)
