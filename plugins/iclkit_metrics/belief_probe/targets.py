"""What a probe is to read at every position: exact beliefs about what generates the sequence.

At position l a model has read x_1 .. x_{l-1}; so have the targets. Position 1 knows nothing and is left out.
"""

from typing import Any

import torch
from torch import Tensor

from iclkit.api import Batch


def belief_state(source: Any, batch: Batch) -> Tensor | None:
    """Return Pr(state | x_1 .. x_{l-1}, topic), float64 (B, T - 1, S), l = 2 .. T; None if the source has none."""
    beliefs = getattr(source, "beliefs", None)
    return None if beliefs is None else beliefs(batch)[:, :-1]


def topic_posterior(source: Any, topics: Any, weights: Tensor, batch: Batch) -> Tensor:
    """Return Pr(topic k | x_1 .. x_{l-1}), float64 (B, T - 1, K), l = 2 .. T.

    It is proportional to w_k P_k(x_1 .. x_{l-1}); NaN where no topic allows the history.
    """
    oracle, first = source.oracle(), torch.zeros_like(batch.topic)
    evidence = []
    for k in range(len(topics)):
        log_prob = oracle.log_prob(batch.replace(topics=topics[k : k + 1], topic=first))
        evidence.append(log_prob.nan_to_num(nan=0.0, neginf=-torch.inf).cumsum(1)[:, :-1])
    return (torch.stack(evidence, dim=-1) + weights.log()).softmax(-1)
