"""Exact filters of hidden Markov models: what follows, given all tokens before and one machine or a mixture.

The belief about the state is a probability vector, updated by eta <- eta T(x) / (eta T(x) 1) and predicting
Pr(x) = eta T(x) 1 (arXiv 2505.18373, 1.3). Beliefs are scaled at every step and topics compared by running
log-evidence, so no length underflows and no probability is floored.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from iclkit.api import Batch, CategoricalDistribution
from iclkit_sources.machines.stack import Machines

_ORACLE_CELLS = 1 << 22  # numbers in the gathered transition matrices of one block of sequences
_MIXTURE_CELLS = 1 << 18  # numbers in the beliefs of one block: what a core's cache holds
_SMALLEST = 5e-324
_FEW_STATES = 6  # up to here one fused multiplication per pair of states beats small matrix products


class MachineOracle:
    """The predictor that knows each sequence's machine."""

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l, topic), float64 (B, T), nats; -inf at an impossible token, NaN after."""
        return self._run(batch, predictive=False)

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return Pr(. | x_<l, topic) at every position."""
        return CategoricalDistribution(self._run(batch, predictive=True))

    def beliefs(self, batch: Batch) -> Tensor:
        """Return Pr(state after x_l | x_1 .. x_l, topic), float64 (B, T, S); NaN after an impossible token."""
        machines: Machines = batch.topics
        belief, found = machines.start[batch.topic][:, None], []  # (B, 1, S)
        for token in batch.tokens.T:
            moved = belief @ machines.transitions[batch.topic, token]
            belief = moved / moved.sum(-1, keepdim=True)
            found.append(belief)
        return torch.cat(found, dim=1)

    def _run(self, batch: Batch, predictive: bool) -> Tensor:
        machines: Machines = batch.topics
        rows = max(1, _ORACLE_CELLS // (machines.states * max(machines.states, machines.vocabulary)))
        blocks = zip(batch.tokens.split(rows), batch.topic.split(rows), strict=True)
        return torch.cat([_follow(machines, tokens, topic, predictive) for tokens, topic in blocks])


def _follow(machines: Machines, tokens: Tensor, topic: Tensor, predictive: bool) -> Tensor:
    """Return log-probabilities of tokens (B, T), or with `predictive` of all tokens (B, T, V)."""
    belief = machines.start[topic][:, None]  # (B, 1, S)
    emissions = machines.emissions[topic].transpose(1, 2) if predictive else None  # (B, S, V)
    found = []
    for token in tokens.T:
        moved = belief @ machines.transitions[topic, token]
        chance = moved.sum(-1, keepdim=True)
        found.append(chance[:, 0] if emissions is None else (belief @ emissions)[:, 0])
        belief = moved / chance  # NaN where no history is left
    result = torch.stack(found, dim=1).log()
    return result if predictive else result.squeeze(-1)


class MachineMixture:
    """The predictor that knows some machines and their weights, and infers which it is in.

    Parameters
    ----------
    machines : the topics.
    weights : float64 tensor (K,), of any positive sum.

    """

    def __init__(self, machines: Machines, weights: Tensor):
        self._machines = machines
        self._log_prior = (weights / weights.sum()).log()
        self._advance = _Few(machines) if machines.states <= _FEW_STATES else _Many(machines)

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l), float64 (B, T), nats; -inf where no topic allows the token, NaN after."""
        return torch.cat([self._run(tokens, None)[0] for tokens in self._blocks(batch)])

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return Pr(. | x_<l) at every position."""
        return self.predict(batch)[0]

    def predict(self, batch: Batch) -> tuple[CategoricalDistribution, Tensor]:
        """Return Pr(. | x_<l) at every position, and the posterior of whole sequences, in one pass.

        The float64 (B, T, V) of the first is all that grows with B and T; the second is float64 (B, K).
        """
        shape = (*batch.tokens.shape, self._machines.vocabulary)
        log_probs = torch.empty(shape, dtype=torch.float64, device=batch.tokens.device)
        blocks = zip(self._blocks(batch), log_probs.split(self._rows()), strict=True)
        posteriors = [self._run(tokens, part)[1].exp() for tokens, part in blocks]
        return CategoricalDistribution(log_probs), torch.cat(posteriors)

    def posterior(self, batch: Batch) -> Tensor:
        """Return Pr(topic | whole sequence), float64 (B, K); NaN where no topic allows the sequence."""
        return torch.cat([self._run(tokens, None)[1].exp() for tokens in self._blocks(batch)])

    def _rows(self) -> int:
        return max(32, _MIXTURE_CELLS // (len(self._machines) * self._machines.states))

    def _blocks(self, batch: Batch) -> Iterator[Tensor]:
        return iter(batch.tokens.split(self._rows()))

    def _run(self, tokens: Tensor, log_probs: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the tokens' log-probabilities (B, T) and the log-posterior (B, K); fill log_probs (B, T, V).

        Sequences are reordered at every step so that those with one token lie together.
        """
        advance, (size, length) = self._advance, tokens.shape
        order = tokens.argsort(dim=0).T.contiguous()  # order[t]: which sequence is where after step t
        place = order.argsort(dim=1)  # its inverse
        moves = torch.cat([order[:1], place[:-1].gather(1, order[1:])])
        counts = _counts(tokens, self._machines.vocabulary)
        belief = advance.start.repeat(size, 1, 1)
        before, joint = torch.empty_like(belief), torch.empty_like(belief)
        evidence = self._log_prior.repeat(size, 1)  # ln Pr(topic | x_<l), (B, K)
        chance, weights = torch.empty_like(evidence), torch.empty_like(evidence)
        found = evidence.new_empty(length, size)
        for step in range(length):
            if log_probs is not None:
                torch.exp(evidence, out=weights)
                torch.mul(belief, weights.unsqueeze(advance.states_dim), out=joint)
                predicted = joint.flatten(1) @ advance.emissions  # (B, V)
                log_probs[:, step] = predicted if step == 0 else predicted[place[step - 1]]
            torch.index_select(belief, 0, moves[step], out=before)
            torch.index_select(evidence, 0, moves[step], out=weights)
            advance(before, counts[step], belief)
            advance.total(belief, chance)  # Pr(x_l | x_<l, topic), (B, K)
            torch.clamp(chance, min=_SMALLEST, out=evidence)
            belief /= evidence.unsqueeze(advance.states_dim)  # 0 where no history is left
            torch.log(chance, out=evidence)
            evidence += weights
            largest = evidence.amax(1)
            torch.log_softmax(evidence, dim=1, out=evidence)
            # ln sum exp(evidence), through what the softmax took from the largest; NaN there means all were -inf.
            found[step] = largest - evidence.amax(1).nan_to_num_(nan=0.0)
        result = found.gather(1, place).T
        if log_probs is not None:
            # What was seen is known in log space, beyond the reach of a float64 probability.
            log_probs.log_().scatter_(-1, tokens[..., None], result[..., None])
        return result, evidence[place[-1]]


def _counts(tokens: Tensor, size: int) -> list[list[int]]:
    """Return how often each of `size` tokens occurs at each position, (T, V)."""
    counts = tokens.new_zeros(tokens.shape[1], size)
    return counts.scatter_add_(1, tokens.T, torch.ones_like(tokens.T)).tolist()


class _Few:
    """Steps of beliefs (B, S, K), topics innermost: one fused multiplication per pair of states."""

    states_dim = 1

    def __init__(self, machines: Machines):
        self.start = machines.start.T.contiguous()  # (S, K)
        self._steps = machines.transitions.permute(1, 2, 3, 0).contiguous().unbind()  # V of (S, S, K)
        self.emissions = machines.emissions.permute(1, 2, 0).flatten(1).contiguous().T  # (S * K, V)

    def __call__(self, belief: Tensor, counts: list[int], moved: Tensor) -> None:
        """Write eta T(x), unscaled, for sequences ordered by token, counts[x] of each."""
        first = 0
        for steps, count in zip(self._steps, counts, strict=True):
            if count:
                part, into = belief[first : first + count], moved[first : first + count]
                torch.mul(part[:, 0, None], steps[0], out=into)
                for state in range(1, len(steps)):
                    into.addcmul_(part[:, state, None], steps[state])
                first += count

    def total(self, belief: Tensor, chance: Tensor) -> None:
        """Write the sum over states."""
        chance.copy_(belief[:, 0])
        for state in range(1, belief.shape[1]):
            chance += belief[:, state]


class _Many:
    """Steps of beliefs (B, K, S), states innermost: one matrix product per topic and token."""

    states_dim = 2

    def __init__(self, machines: Machines):
        self.start = machines.start  # (K, S)
        self._steps = machines.transitions.transpose(0, 1).contiguous().unbind()  # V of (K, S, S)
        self.emissions = machines.emissions.transpose(0, 1).flatten(1).contiguous().T  # (K * S, V)

    def __call__(self, belief: Tensor, counts: list[int], moved: Tensor) -> None:
        """Write eta T(x), unscaled, for sequences ordered by token, counts[x] of each."""
        first = 0
        for steps, count in zip(self._steps, counts, strict=True):
            if count:
                part = belief[first : first + count].transpose(0, 1)  # (K, count, S)
                moved[first : first + count] = torch.bmm(part, steps).transpose(0, 1)
                first += count

    def total(self, belief: Tensor, chance: Tensor) -> None:
        """Write the sum over states."""
        torch.sum(belief, dim=2, out=chance)
