"""What does hold of Theorems 4.3 and 4.6 of arXiv 2502.17024, with every constant: mode "strict".

The prior nu_J is fixed by the sequences (topics) in J; the bound is computed on the others. Losses are nats per token
above the topic-aware oracle: KL(P_t, p_t) averaged over positions. C >= ln P_t(x) / p_t(x) for every token: ln(V/a)
under `token_mix`. The units are sequences and topics, not tokens: without mixing of the loss process nothing smaller
is independent. In practice the single draw, the path or the held-out bound on the same units are tighter; these show
how the paper's decomposition fares once its constants are written out.
"""

import math

from iclkit_bounds.paper import Rate
from iclkit_bounds.units import checked_delta


def tokens(*, excess: float, events: int, largest_ratio: float, divergence: float, delta: float) -> float:
    """Return an upper limit of the mean of E_mu KL(P_t, p_t) over the training prefixes outside J, nats per token.

    Statement: with probability at least 1 - delta over the `events` tokens there, for all posteriors mu. `excess` is
    the mean of E_mu ln P_t(x_t) / p_t(x_t) over them, the realised training loss above the oracle: it takes the place
    of the paper's -eps_opt.

    Formula: with h = excess + 2 (KL + ln(1/delta)) / events, which bounds the mean squared Hellinger distance
    (`hellinger`), the smaller of (2+C) h (Yang and Barron 1998) and C/(1-e^-C) sqrt(h) (total variation is at most
    the Hellinger distance, and KL <= C/(1-e^-C) TV with equality for P = e^C p on a set of p-mass e^-C). Derived here.
    """
    h = max(0.0, excess + 2 * (divergence + math.log(1 / checked_delta(delta))) / events)
    if largest_ratio <= 0:
        raise ValueError("the largest log-ratio must be positive")
    return min((2 + largest_ratio) * h, largest_ratio / -math.expm1(-largest_ratio) * math.sqrt(h), largest_ratio)


def sequences(
    *,
    topics: int,
    per_topic: int,
    prior_per_topic: int,
    length: int,
    excess: float,
    largest_ratio: float,
    divergence: float,
    delta: float,
) -> Rate:
    """Return Theorem 4.3 with constants: an upper limit of E_mu of the loss on fresh sequences of the K topics.

    Statement: with probability at least 1 - delta over the M = K (N-N') sequences outside J, for all mu:
    `tokens` at delta/2 plus C sqrt((KL + ln(2 sqrt(M)/(delta/2))) / 2M), McAllester's bound with sequences as units.
    Derived here. Parameters as in `tokens` and in `paper.sequences`.
    """
    units = topics * (per_topic - prior_per_topic)
    return _levels(units, length, {"sequences": units}, excess, largest_ratio, divergence, delta)


def topics(
    *,
    topics: int,
    prior_topics: int,
    per_topic: int,
    prompt_length: int,
    excess: float,
    largest_ratio: float,
    divergence: float,
    delta: float,
) -> Rate:
    """Return Theorem 4.6 with constants: an upper limit of E_mu of the loss on fresh topics over T_p positions.

    Statement: with probability at least 1 - delta over the K-K' topics outside J and their sequences, for all mu:
    `tokens` and the sequence term on those topics alone, at delta/3 each, plus C sqrt((KL + ln(2 sqrt(K-K') /
    (delta/3))) / 2(K-K')) with topics as units. The prior knows none of their sequences. Derived here. `excess` is over
    the first T_p positions of their sequences.
    """
    held = topics - prior_topics
    levels = {"sequences": held * per_topic, "topics": held}
    return _levels(held * per_topic, prompt_length, levels, excess, largest_ratio, divergence, delta)


def _levels(
    sequences: int,
    length: int,
    levels: dict[str, int],
    excess: float,
    largest_ratio: float,
    divergence: float,
    delta: float,
) -> Rate:
    """Add up the token stage and one McAllester step for each level, the same share of delta for each."""
    if min(levels.values()) < 1:
        raise ValueError("nothing is left for the bound: the prior must leave sequences or topics out")
    share = checked_delta(delta) / (1 + len(levels))
    found = tokens(
        excess=excess, events=sequences * length, largest_ratio=largest_ratio, divergence=divergence, delta=share
    )
    steps = {
        name: largest_ratio * math.sqrt((divergence + math.log(2 * math.sqrt(n) / share)) / (2 * n))
        for name, n in levels.items()
    }
    terms = {"tokens": found, **steps}
    return Rate(value=min(sum(terms.values()), largest_ratio), terms=terms, valid=True)
