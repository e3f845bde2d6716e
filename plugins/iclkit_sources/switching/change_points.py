"""Sequences whose machine is exchanged for a fresh one at a constant rate, and their exact filter.

Pr(switch) = r before every token but the first; a switch draws a machine k' ~ w and its first state from start_k'.
Given the tokens so far, the belief about (machine, state) is all that matters, so that the recursion over run lengths
(Adams and MacKay, 2007) closes: eta <- (1 - r) eta + r w start before each token, then eta <- eta T(x) / (eta T(x) 1).
The cost is that of filtering every machine once, O(K S^2) a token.
"""

from collections.abc import Iterator

import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Batch, CategoricalDistribution, Key
from iclkit_sources.machines.sampling import edges, invert
from iclkit_sources.machines.stack import Machines

_CELLS = 1 << 18  # numbers in the beliefs of one block of sequences


@frozen(kw_only=True, eq=False)
class ChangePoints:
    """A pool of machines that take turns.

    Parameters
    ----------
    pool : the machines.
    weights : float64 tensor (K,), summing to 1: the law of the machine after a switch.
    rate : probability of a switch before each token but the first.

    """

    pool: Machines
    weights: Tensor
    rate: float

    @property
    def restart(self) -> Tensor:
        """The law of (machine, state) after a switch, float64 (K, S)."""
        return self.weights[:, None] * self.pool.start

    def dense(self, start: Tensor) -> Machines:
        """Return the machines over joint states (machine, state), one per first law of these, start (n, K, S).

        T'(v) = T(v) ((1 - r) 1 + r 1 restart^T): a token is emitted as in its machine, then a switch may come. All n
        share one transition tensor (V, K S, K S).
        """
        pool = self.pool
        count, size, states, _ = pool.transitions.shape
        joint = pool.transitions.new_zeros(size, count, states, count, states)
        for machine in range(count):
            joint[:, machine, :, machine] = (1 - self.rate) * pool.transitions[machine]
        shown = pool.emissions.permute(1, 0, 2)  # (V, K, S)
        joint += self.rate * shown[..., None, None] * self.restart
        joint = joint.reshape(size, count * states, count * states)
        return Machines(
            transitions=joint.expand(len(start), *joint.shape),
            start=start.flatten(1),
            numbers=torch.arange(1, len(start) + 1),
        )

    def sample(self, machine: Tensor | None, length: int, key: Key) -> Tensor:
        """Sample sequences, int64 tokens (B, length); `machine` int64 (B,) comes first, or one drawn for None."""
        device = key.states.device
        states = self.pool.states
        onward = edges(self.pool.transitions.transpose(1, 2).flatten(2)).to(device)  # (K, S, n)
        starts, law = edges(self.pool.start).to(device), edges(self.weights).to(device)
        drawn = torch.searchsorted(law, key.fold("topic").uniform(length), right=True)
        switched = key.fold("switch").uniform(length) < self.rate
        first, moves = key.fold("start").uniform(length), key.fold("tokens").uniform(length)
        now = drawn[:, 0] if machine is None else machine.to(device)
        state = invert(starts, now * starts.shape[-1], first[:, 0])
        tokens = torch.empty(len(now), length, dtype=torch.int64, device=device)
        for place in range(length):
            if place:
                anew = switched[:, place]
                now = torch.where(anew, drawn[:, place], now)
                state = torch.where(anew, invert(starts, now * starts.shape[-1], first[:, place]), state)
            outcome = invert(onward, (now * states + state) * onward.shape[-1], moves[:, place])
            tokens[:, place], state = outcome // states, outcome % states
        return tokens


class ChangePointFilter:
    """The predictor that knows the pool and the rate; `first` float64 (n, K, S) are the laws of the first state.

    A sequence's own is that of its topic in the batch, or the only one.
    """

    def __init__(self, points: ChangePoints, first: Tensor):
        self._points, self._first = points, first
        self._steps = points.pool.transitions.transpose(0, 1).contiguous()  # (V, K, S, S)
        self._shown = points.pool.emissions.transpose(1, 2).flatten(0, 1)  # (K * S, V)

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l), float64 (B, T), nats; -inf at an impossible token, NaN after."""
        return torch.cat([self._run(tokens, first, False) for tokens, first in self._blocks(batch)])

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return Pr(. | x_<l) at every position."""
        return CategoricalDistribution(
            torch.cat([self._run(tokens, first, True) for tokens, first in self._blocks(batch)])
        )

    def _blocks(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
        count, states = self._first.shape[1:]
        rows = max(16, _CELLS // (count * states))
        topic = batch.topic if len(self._first) > 1 else torch.zeros_like(batch.topic)
        return zip(batch.tokens.split(rows), topic.split(rows), strict=True)

    def _run(self, tokens: Tensor, topic: Tensor, predictive: bool) -> Tensor:
        """Return log-probabilities of tokens (B, T), or with `predictive` of all tokens (B, T, V)."""
        rate, restart = self._points.rate, self._points.restart
        belief = self._first[topic].transpose(0, 1)  # (K, B, S)
        found = []
        for place, token in enumerate(tokens.T):
            if place:
                belief = (1 - rate) * belief + rate * restart[:, None]
            if predictive:
                found.append(belief.transpose(0, 1).flatten(1) @ self._shown)
            moved = torch.empty_like(belief)
            for value in token.unique().tolist():
                rows = (token == value).nonzero().squeeze(1)
                moved[:, rows] = belief[:, rows] @ self._steps[value]
            chance = moved.sum((0, 2))
            if not predictive:
                found.append(chance)
            # A sequence without a past has no future: a restart must not revive it.
            belief = moved / torch.where(chance > 0, chance, torch.nan)[:, None]
        return torch.stack(found, dim=1).log()
