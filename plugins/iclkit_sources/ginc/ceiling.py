"""The best answer to a GINC prompt of one who knows the prompt process: topics and start properties are inferred.

In distribution, the examples of a prompt are independent given its topic and its start property, which are uniform
over the topics and over 1 .. P-1. Out of distribution they tell nothing of the topic. The label is a function of
topic, start property and test input, so the best answer is the token that most of the posterior calls the label.
"""

import torch
from attrs import evolve
from torch import Tensor

from iclkit.api import Batch
from iclkit_sources.ginc.filters import GincMixture
from iclkit_sources.ginc.labels import label_of
from iclkit_sources.ginc.topics import GincTopics

_LABELS = 1 << 14  # test inputs labelled together


def best_answers(topics: GincTopics, tokens: Tensor, length: int, inside: bool) -> Tensor:
    """Return the token that most of the posterior calls the label, int64 (n,), lowest on ties.

    Parameters
    ----------
    topics : those that prompts are drawn from, uniformly.
    tokens : int64 tensor (n, (L + 1) shots + L - 1), the prompts.
    length : L.
    inside : whether examples are in distribution.

    A hypothesis is a topic and, in distribution, a start property: H = K (P - 1), or K.

    """
    states, end = topics.memory.numel(), tokens.shape[1] - length + 1
    shown, test = tokens[:, :end].reshape(-1, length + 1)[:, :length], tokens[:, end:]
    laws = _starts(topics) if inside else topics.start.new_full((1, states), 1 / states)
    posterior = topics.start.new_zeros(len(tokens), len(topics) * len(laws))
    if inside:
        posterior += _log_likelihood(topics, laws, test)
        posterior += _log_likelihood(topics, laws, shown).view(len(tokens), -1, posterior.shape[1]).sum(1)
    labels, possible = _labels(topics, laws, test)
    weights = torch.where(possible, posterior, -torch.inf).softmax(1).nan_to_num(nan=0.0)
    votes = weights.new_zeros(len(tokens), topics.symbols).scatter_add_(1, labels, weights)
    return votes.argmax(1)


def _starts(topics: GincTopics) -> Tensor:
    """Return the laws of an example's first state at each start property 1 .. P-1, float64 (P - 1, E * P)."""
    state = torch.arange(topics.memory.numel(), device=topics.numbers.device)
    at = state % topics.properties == torch.arange(1, topics.properties, device=state.device)[:, None]
    return at.double() / topics.entities


def _log_likelihood(topics: GincTopics, laws: Tensor, examples: Tensor) -> Tensor:
    """Return ln Pr(example | hypothesis) up to a constant of each example, int64 (n, L): float64 (n, H)."""
    if not examples.numel():
        return laws.new_zeros(len(examples), len(topics) * len(laws))
    each = torch.arange(len(topics), device=examples.device).repeat_interleave(len(laws))
    hypotheses = evolve(topics[each], start=laws.repeat(len(topics), 1))
    rows = torch.zeros(len(examples), dtype=torch.int64, device=examples.device)
    batch = Batch(tokens=examples, mask=examples >= 0, topics=topics, topic=rows, number=rows)
    return GincMixture(hypotheses, laws.new_ones(len(each))).posterior(batch).log()  # the prior is uniform


def _labels(topics: GincTopics, laws: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each hypothesis would have as label of each test input, int64 (n, H), and whether it has one."""
    hypotheses, found = len(topics) * len(laws), []
    for some in torch.arange(len(test) * hypotheses, device=test.device).split(_LABELS):
        row, hypothesis = some // hypotheses, some % hypotheses
        topic, law = hypothesis // len(laws), hypothesis % len(laws)
        found.append(label_of(topics, topic, laws[law], test[row]))
    labels, possible = (torch.cat(each).view(len(test), hypotheses) for each in zip(*found, strict=True))
    return labels, possible
