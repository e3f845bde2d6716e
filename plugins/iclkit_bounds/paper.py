"""The bounds of the second paper as they are written: rates with an undeclared constant. Never valid certificates.

"Generalization and in-context learning" (arXiv 2502.17024), Theorems 4.3 (fresh sequences) and 4.6 (fresh topics), in
mode "paper": O(.) read with a constant that the user declares. Losses are nats per token above the topic-aware oracle.
The topic rate divides by (K-K') T_p; but how topics differ does not shrink with the length of their prompts, and
`violation_rate` shows a source on which the rate fails far more often than it may. `strict` has what does hold.
"""

import math

import numpy as np
from attrs import frozen

from iclkit_bounds.concentration import binomial_tail
from iclkit_bounds.units import checked_delta

WHY_INVALID = "the literal rate: its constant is not stated and the count of topics times tokens is not independent"


@frozen(kw_only=True)
class Rate:
    """A bound and what it is the sum of, nats per token; `valid` only in mode "strict"."""

    value: float
    terms: dict[str, float]
    valid: bool
    reason: str = ""


def sequences(
    *,
    topics: int,
    per_topic: int,
    prior_per_topic: int,
    length: int,
    divergence: float,
    delta: float,
    optimisation: float = 0.0,
    constant: float = 1.0,
) -> Rate:
    """Return Theorem 4.3 read literally: c [sqrt(ln(1/d)/n) + sqrt((KL + ln(1/d))/n - eps_opt)], n = K (N-N') T.

    `divergence` KL(mu, nu_J) and `optimisation` eps_opt in nats; `constant` is c. A negative root counts as 0.
    """
    n = _count(topics * (per_topic - prior_per_topic) * length, "prior_per_topic must be below per_topic")
    confidence = math.log(1 / checked_delta(delta))
    terms = {
        "prefixes": constant * math.sqrt(confidence / n),
        "tokens": constant * math.sqrt(max(0.0, (divergence + confidence) / n - optimisation)),
    }
    return Rate(value=sum(terms.values()), terms=terms, valid=False, reason=WHY_INVALID)


def topics(
    *,
    topics: int,
    prior_topics: int,
    prompt_length: int,
    topic_divergence: float,
    first: Rate,
    delta: float,
    constant: float = 1.0,
) -> Rate:
    """Return Theorem 4.6 read literally: c sqrt((KL + ln(1/d)) / ((K-K') T_p)) plus Theorem 4.3's bound, `first`."""
    n = _count((topics - prior_topics) * prompt_length, "prior_topics must be below topics")
    between = constant * math.sqrt((topic_divergence + math.log(1 / checked_delta(delta))) / n)
    terms = {"topics": between, **first.terms}
    return Rate(value=sum(terms.values()), terms=terms, valid=False, reason=WHY_INVALID)


def diffusion_divergence(
    *, gradient_gap: float, inverse_temperature: float, loss_limit: float, time: float, ridge: float = 1.0
) -> float:
    """Return the closed form (b/2) (e^{8bS}/r) (1 - exp(-r t e^{-8bS})) G^2 for KL(mu, nu_J), nats; may be inf.

    For the diffusion d theta = -grad L dt + sqrt(2/b) dB with ridge r: G is the largest norm of the difference of the
    gradients on all data and on J, b the inverse temperature, S a bound on the objective, t the time. Fokker-Planck,
    a log-Sobolev constant e^{8bS}/(b r) and Groenwall; with r = 1 the paper's C(1/N_param, T'), after Li, Luo and Qiao
    (2020). It saturates at astronomical values and starts as b t G^2 / 2, linear in time: the path's own ratio
    (`langevin`) is smaller by orders of magnitude. `sequences` with divergence = this is the optimisation-dependent
    form of Theorem 4.3; the paper's sigma^2 / N' stands for G^2.
    """
    log_constant = 8 * inverse_temperature * loss_limit - math.log(ridge)  # ln of e^{8bS}/r
    share = time * math.exp(-log_constant)  # r t e^{-8bS}
    if share < 1e-300:
        return inverse_temperature / 2 * time * gradient_gap**2
    log_value = log_constant + math.log(-math.expm1(-share))
    return inverse_temperature / 2 * gradient_gap**2 * (math.exp(log_value) if log_value < 700 else math.inf)


def path_divergence(learning_rates: np.ndarray, noise_scales: np.ndarray, gradient_gaps: np.ndarray) -> float:
    """Return sum_t eta_t^2 |g_t|^2 / (2 S_t^2), the KL divergence of noisy descent's path, nats; arrays (steps,).

    g_t is the difference of the gradients on all data and on J, S_t the standard deviation of the noise (Luo, Luo and
    Li 2022, Lemma 6.1; the chain rule).
    """
    return float((np.square(learning_rates) * np.square(gradient_gaps) / (2 * np.square(noise_scales))).sum())


def violation_rate(
    *,
    topics: int,
    prompt_length: int,
    share: float,
    delta: float,
    easy: float = 0.2,
    hard: float = 3.9,
    upper: float = 3.92,
) -> float:
    """Return the exact probability that the literal topic rate fails on a source of two types of topics.

    A topic has loss `hard` with probability `share`, else `easy`; the predictor is fixed, so KL = 0; the rate is
    mean + B sqrt(ln(1/delta) / (2 K T_p)), B = `upper`. A valid bound fails with probability at most delta, whatever
    K and T_p are; this one comes to P(Bin(K, share) < K share), near 1/2, as T_p grows. Derived here.
    """
    slack = upper * math.sqrt(math.log(1 / checked_delta(delta)) / (2 * topics * prompt_length))
    most = topics * (share - slack / (hard - easy))  # the rate fails with fewer hard topics than this
    return binomial_tail(math.ceil(most) - 1, topics, share) if most > 0 else 0.0


def _count(n: int, otherwise: str) -> int:
    if n < 1:
        raise ValueError(f"nothing is left for the bound: {otherwise}")
    return n
