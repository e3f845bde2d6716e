"""Sampling hidden Markov models: many sequences at once, one step of time after the other.

A step draws (token, next state) together by inverting their distribution function. Which token a sequence gets
depends only on its key and its machine: not on its neighbours, nor on how far it goes.
"""

import torch
from torch import Tensor

from iclkit.api import Key
from iclkit_sources.machines import Machines


def sample_machines(machines: Machines, topic: Tensor, length: int, key: Key) -> Tensor:
    """Sample one sequence per entry of `topic` (int64 (B,), index into the machines): int64 tokens (B, length).

    `key` has one state per sequence; its device is the result's. A token of probability 0 is never drawn.
    """
    device = key.states.device
    topic = topic.to(device)
    states = machines.states
    edges = _edges(machines.transitions.transpose(1, 2).flatten(2)).to(device)  # (K, S, V * S)
    row, width = topic * states, edges.shape[-1]
    edges = edges.flatten()
    state = _draw(_edges(machines.start).to(device).flatten(), row, states, key.fold("start").uniform(1).squeeze(-1))
    draws = key.uniform(length).T.contiguous()  # (T, B)
    tokens = torch.empty(length, len(topic), dtype=torch.int64, device=device)
    for step in range(length):
        outcome = _draw(edges, (row + state) * width, width, draws[step])
        torch.div(outcome, states, rounding_mode="floor", out=tokens[step])
        state = outcome - tokens[step] * states
    return tokens.T.contiguous()


def _edges(weights: Tensor) -> Tensor:
    """Return distribution functions along the last dim, ending in exactly 1 from the last positive weight on.

    Computed on the CPU in index order, so that edges are monotone, the same on every device, and unchanged by
    padding with zeros.
    """
    sums = weights.cpu().cumsum(-1)
    return sums / sums[..., -1:]


def _draw(edges: Tensor, base: Tensor, width: int, draw: Tensor) -> Tensor:
    """Return how many of edges[base : base + width] are at most the draw, int64 (B,), by bisection.

    A draw below 1 never passes the last positive weight, and equal edges (a weight of 0) are passed together.
    """
    found = torch.zeros_like(base)
    stride = 1 << (width.bit_length() - 1)
    while stride:
        probe = (found + (stride - 1)).clamp_(max=width - 1)  # the last edge is 1, beyond every draw
        found = found + (edges[base + probe] <= draw) * stride
        stride >>= 1
    return found
