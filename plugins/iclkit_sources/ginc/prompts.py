"""GINC prompts: examples of one topic, delimiters between them, and a test input whose next token is asked for.

An example is `length` tokens, the last of which is its output (Xie et al., arXiv 2111.02080; the published program).
Two processes make examples. In-distribution: an entity at random, the prompt's own start property, then the topic's
chain. Out-of-distribution: one entity at random, properties at random among 1 .. P-1. Topic and process are chosen
separately.
"""

from typing import Literal

import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Batch, Key
from iclkit_sources.ginc.ceiling import best_answers
from iclkit_sources.ginc.labels import initial_law, label_of
from iclkit_sources.ginc.sampling import sample_states
from iclkit_sources.ginc.topics import GincTopics

Examples = Literal["in-distribution", "out-of-distribution"]

_PROMPTS = 4096  # prompts made together


@frozen(kw_only=True, eq=False)
class Prompts:
    """n prompts of (L + 1) `shots` + L - 1 tokens.

    Parameters
    ----------
    tokens : int64 tensor (n, T): examples, each followed by the delimiter 0, then the test input's L - 1 tokens.
    label : int64 tensor (n,), the topic's likeliest next token given the test input alone; lowest index on ties.
    possible : bool tensor (n,), whether the topic allows the test input at all; where not the label is 0, an artefact.
    answer : int64 tensor (n,), the token that the test example itself goes on with.
    topics : the topics prompts came from.
    topic : int64 tensor (n,), the index into `topics` of each prompt's topic.
    start : int64 tensor (n,), the start property of all examples of a prompt; 0 out of distribution, which has none.
    length : L, the tokens of an example.
    examples : the process that made them.

    """

    tokens: Tensor
    label: Tensor
    possible: Tensor
    answer: Tensor
    topics: GincTopics
    topic: Tensor
    start: Tensor
    length: int
    examples: Examples

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self) -> Batch:
        """Return prompts with their labels as last tokens, (n, T + 1), of which only those are scored."""
        tokens = torch.cat([self.tokens, self.label[:, None]], dim=1)
        mask = torch.zeros_like(tokens, dtype=torch.bool)
        mask[:, -1] = True
        number = torch.arange(1, len(self) + 1, device=tokens.device)
        return Batch(tokens=tokens, mask=mask, topics=self.topics, topic=self.topic, number=number)

    def ceiling(self) -> Tensor:
        """Return the best answer, int64 (n,), of one who knows how prompts are made and the topics they come from.

        It has the highest probability of being the label given the prompt, among prompts that are `possible`.
        """
        parts = torch.arange(len(self), device=self.tokens.device).split(_PROMPTS)
        inside = self.examples == "in-distribution"
        return torch.cat([best_answers(self.topics, self.tokens[some], self.length, inside) for some in parts])


def prompt_length(shots: int, length: int) -> int:
    """Return how many tokens a prompt has, (L + 1) shots + L - 1."""
    return (length + 1) * shots + length - 1


def make_prompts(
    topics: GincTopics, shots: int, length: int, count: int, key: Key, examples: Examples = "in-distribution"
) -> Prompts:
    """Make prompts; `key` is one state, from which each prompt has its own by number.

    With fewer shots the first examples are the same, and so are topic and test input: accuracies at several shots are
    paired. Raises ValueError where examples have fewer than two tokens or shots are negative.
    """
    if length < 2:
        raise ValueError(f"length: an example needs an input and an output, at least 2 tokens, not {length}")
    if shots < 0:
        raise ValueError(f"shots: must be 0 or more, not {shots}")
    if examples not in ("in-distribution", "out-of-distribution"):
        raise ValueError(f"examples: must be in-distribution or out-of-distribution, not {examples}")
    topics = topics.prompting()
    numbers = torch.arange(1, count + 1, device=topics.numbers.device)
    parts = [_make(topics, shots, length, key.fold(some), examples) for some in numbers.split(_PROMPTS)]
    joined = (torch.cat(each) for each in zip(*parts, strict=True))
    tokens, label, possible, answer, topic, start = joined
    return Prompts(
        tokens=tokens,
        label=label,
        possible=possible,
        answer=answer,
        topics=topics,
        topic=topic,
        start=start,
        length=length,
        examples=examples,
    )


def _make(topics: GincTopics, shots: int, length: int, key: Key, examples: Examples) -> tuple[Tensor, ...]:
    count, inside = len(key.states), examples == "in-distribution"
    topic = key.fold("topic").integers(len(topics), 1).squeeze(-1)
    start = key.fold("start").integers(topics.properties - 1, 1).squeeze(-1) + 1
    order = torch.tensor([*range(1, shots + 1), 0], device=topic.device)  # the test example is number 0
    each = Key(key.fold("example").states[:, None]).fold(order)  # (n, shots + 1)
    make = _chained if inside else _scattered
    states = make(topics, topic, start, length, Key(each.states.flatten())).view(count, shots + 1, length)
    shown = topics.memory.flatten()[states]
    delimited = torch.nn.functional.pad(shown, (0, 1)).flatten(1)  # (n, (shots + 1) (length + 1))
    test = shown[:, -1]
    initial = initial_law(topics, start if inside else None, count)
    label, possible = label_of(topics, topic, initial, test[:, :-1])
    tokens = delimited[:, : prompt_length(shots, length)]
    return tokens, label, possible, test[:, -1], topic, start if inside else torch.zeros_like(start)


def _chained(topics: GincTopics, topic: Tensor, start: Tensor, length: int, key: Key) -> Tensor:
    """Return the states of examples, (n * each, L): a random entity at the start property, then the topic's chain."""
    each = len(key.states) // len(topic)
    entity = key.fold("entity").integers(topics.entities, 1).squeeze(-1)
    first = entity * topics.properties + start.repeat_interleave(each)
    return sample_states(topics, topic.repeat_interleave(each), first, length, key.fold("chain")).T.long()


def _scattered(topics: GincTopics, topic: Tensor, start: Tensor, length: int, key: Key) -> Tensor:
    """Return the states of examples, (n * each, L): one random entity, random properties but the delimiter's."""
    entity = key.fold("entity").integers(topics.entities, 1)
    return entity * topics.properties + key.fold("properties").integers(topics.properties - 1, length) + 1
