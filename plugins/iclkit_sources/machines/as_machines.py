"""Topics of any kind as hidden Markov models, where they are such."""

from typing import Any

import torch
from torch import Tensor

from iclkit.api import Component, ConfigError, Problem
from iclkit_sources.chains.source import ChainTopics
from iclkit_sources.coins.source import CoinTopics
from iclkit_sources.machines.compilable import ALLOWED
from iclkit_sources.machines.stack import Machines


def listed_machines(component: Component, source: Any) -> Machines:
    """Return all topics of a listed source as machines; raises ConfigError where they are none."""
    compiled = getattr(source, "compiled", lambda: None)()
    if compiled is None or bool((compiled[0].transitions < 0).any()):
        raise ConfigError([Problem("source.source", f"{component.kind} is no hidden Markov model; allowed: {ALLOWED}")])
    return compiled[0]


def machines_of(topics: Any) -> Machines:
    """Return drawn topics as machines: coins and dice of one state, chains of order 1 of a state per token.

    A chain has one state more, the one before its first token, which is uniform.
    """
    if isinstance(topics, CoinTopics):
        return _independent(torch.stack([1 - topics.bias, topics.bias], dim=1), topics.numbers)
    if isinstance(topics, ChainTopics):
        rows = topics.log_rows.exp()  # (K, C, V)
        contexts, size = rows.shape[1:]
        if contexts == 1:
            return _independent(rows[:, 0], topics.numbers)
        if contexts == size:
            return _first_order(rows, topics.numbers)
    if not isinstance(topics, Machines):
        raise TypeError(f"{type(topics).__name__} are no hidden Markov models of few states")
    return topics


def _independent(shown: Tensor, numbers: Tensor) -> Machines:
    """Return machines of one state that show tokens with probabilities (K, V)."""
    return Machines(transitions=shown[:, :, None, None], start=torch.ones_like(shown[:, :1]), numbers=numbers)


def _first_order(rows: Tensor, numbers: Tensor) -> Machines:
    """Return chains with Pr(v | c) at [k, c, v] as machines: the state is the last token, or V before the first."""
    count, size, _ = rows.shape
    leaving = torch.cat([rows, torch.full_like(rows[:, :1], 1 / size)], dim=1)  # (K, S, V)
    transitions = rows.new_zeros(count, size, size + 1, size + 1)
    for token in range(size):
        transitions[:, token, :, token] = leaving[:, :, token]
    start = rows.new_zeros(count, size + 1)
    start[:, size] = 1
    return Machines(transitions=transitions, start=start, numbers=numbers)
