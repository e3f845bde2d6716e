"""The exact floor h_l of GINC documents at short lengths, by summing over all words of l - 1 tokens.

h_l = sum over words w of Pr(w) H(next token | w). Words multiply by V at every step, so at V = 50 this ends at l = 3;
words of probability 0 are dropped on the way.
"""

import numpy as np
import torch
from torch import Tensor

from iclkit.api import Batch, Exact, entropy
from iclkit_sources.ginc.filters import GincMixture, GincOracle
from iclkit_sources.ginc.topics import GincTopics

_WORDS = 1 << 14
"""How many words are looked at, times the topics for the oracle."""


def word_floor(topics: GincTopics, weights: Tensor, length: int, oracle: bool) -> Exact:
    """Return h_l, nats, l = 1 .. length, of the mixture or the weighted mean of the topics' own; NaN past the budget.

    `weights` is a float64 tensor (K,) summing to 1.
    """
    values, error = np.full(length, np.nan), np.full(length, np.nan)
    predictor = GincOracle() if oracle else GincMixture(topics, weights)
    topic = torch.arange(len(topics) if oracle else 1, device=topics.numbers.device)
    words, log_weight = topic.new_empty(len(topic), 0), weights.log() if oracle else weights.new_zeros(1)
    for position in range(length):
        if len(words) > _WORDS:
            break
        tokens = torch.nn.functional.pad(words, (0, 1))  # what follows a word has no token yet; 0 stands in its place
        batch = Batch(tokens=tokens, mask=tokens >= 0, topics=topics, topic=topic, number=topic)
        following = predictor.distribution(batch)
        entropies = entropy(following)[:, -1]
        values[position] = float(log_weight.exp() @ entropies)
        error[position] = 1e-13 * (1 + position)
        joint = log_weight[:, None] + following.log_probs[:, -1]
        word, token = (joint > -torch.inf).nonzero().T
        words, log_weight, topic = torch.cat([words[word], token[:, None]], dim=1), joint[word, token], topic[word]
    return Exact(values=values, method="belief-enumeration", error=error)
