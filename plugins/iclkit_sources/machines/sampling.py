"""Sampling hidden Markov models: many sequences at once, one step of time after the other.

A step draws (token, next state) together by inverting their distribution function. Which token a sequence gets
depends only on its key and its machine: not on its neighbours, nor on how far it goes.
"""

import torch
from torch import Tensor

from iclkit.api import Key
from iclkit_sources.machines.stack import Machines

_DRAWS = 1 << 15  # random numbers made together: what a core's cache holds


def sample_machines(machines: Machines, topic: Tensor, length: int, key: Key) -> Tensor:
    """Sample one sequence per entry of `topic` (int64 (B,), index into the machines): int64 tokens (B, length).

    `key` has one state per sequence; its device is the result's. A token of probability 0 is never drawn.
    """
    device = key.states.device
    topic = topic.to(device)
    states = machines.states
    first, onward = edges(machines.start), edges(machines.transitions.transpose(1, 2).flatten(2))  # (K, S, V * S)
    rows, width = topic * states, onward.shape[-1]
    state = invert(first.to(device), topic * first.shape[-1], key.fold("start").uniform(1).squeeze(-1))
    onward = onward.to(device)
    draws = torch.empty(length, len(topic), dtype=torch.float64, device=device)
    block = max(1, _DRAWS // length)
    for begin in range(0, len(topic), block):
        draws[:, begin : begin + block] = key[slice(begin, begin + block)].uniform(length).T
    tokens = torch.empty(length, len(topic), dtype=torch.int64, device=device)
    for step in range(length):
        outcome = invert(onward, (rows + state) * width, draws[step])
        torch.div(outcome, states, rounding_mode="floor", out=tokens[step])
        state = outcome - tokens[step] * states
    return tokens.T.contiguous()


def edges(weights: Tensor) -> Tensor:
    """Return distribution functions along the last dim, exactly 1 from the last positive weight on.

    Rows are padded with 1 to a length 2^n - 1, for the bisection. Computed on the CPU in index order, so that edges
    are monotone, the same on every device, and unchanged by padding with zeros.
    """
    sums = weights.cpu().cumsum(-1)
    width = sums.shape[-1]
    return torch.nn.functional.pad(sums / sums[..., -1:], (0, (1 << width.bit_length()) - 1 - width), value=1.0)


def invert(edges: Tensor, base: Tensor, draw: Tensor) -> Tensor:
    """Return how many edges of the row that begins at `base` are at most the draw, int64 (B,), by bisection.

    A draw below 1 never passes the last positive weight, and equal edges (a weight of 0) are passed together.
    """
    stride, edges = (edges.shape[-1] + 1) // 2, edges.flatten()
    at = base - 1  # the last edge known to be passed
    while stride:
        at = at.add(edges[at + stride] <= draw, alpha=stride)
        stride >>= 1
    return at - base + 1
