"""Generalized hidden Markov models: entries may be negative, probabilities of words may not.

A process is rewritten in coordinates of beliefs that it reaches, b_i: T'(x) = B T(x) B^+ with the rows b_i of B. Its
right eigenvector then is 1, as for a hidden Markov model (every b_i, and so every belief, sums to 1), and two beliefs
at L1 distance d predict futures at a distance of at most d, so that the enumeration's error bounds hold as they are.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from iclkit.api import Batch, CategoricalDistribution, Exact, Key
from iclkit_sources.machines.bigrams import machine_bigrams
from iclkit_sources.machines.enumeration import mixture_floor
from iclkit_sources.machines.generalized_configs import GeneralizedConfig
from iclkit_sources.machines.stack import Machines

Reference = Literal["oracle", "mixture", "population"]

_ROUNDING = 64 * 2.0**-53
"""A probability this small beside the numbers it is computed from cannot be told from 0, and is 0."""
_DEPTH = 3  # the beliefs after so many tokens, or as many as there are dimensions, span all that are reached


class GeneralizedSource:
    """One generalized hidden Markov model, stationary from the first token.

    Parameters
    ----------
    process : one machine whose transitions may be negative and whose states sum to 1.

    """

    def __init__(self, process: Machines):
        self.process = process

    def topics(self, numbers: Tensor, key: Key) -> Machines:
        """Return the process once per number, int64 (K,)."""
        return self.process[(numbers - 1).to(self.process.numbers.device)].to(numbers.device)

    def sample(self, topics: Machines, topic: Tensor, number: Tensor, length: int, key: Key) -> tuple[Tensor, None]:
        """Sample from the belief, one sequence per entry of `topic`: int64 tokens (B, length), all scored."""
        belief = topics.start.to(key.states.device)[topic.to(key.states.device)]
        steps = topics.transitions[0].to(key.states.device)
        tokens = torch.empty(len(topic), length, dtype=torch.int64, device=key.states.device)
        for position, draw in enumerate(key.uniform(length).unbind(1)):
            joint, chance = _advance(belief, steps)
            edges = chance.cumsum(1)
            last = edges.argmax(1, keepdim=True)  # the last token of positive probability, which takes what is left
            token = (edges <= draw[:, None] * edges[:, -1:]).sum(1, keepdim=True).minimum(last)
            tokens[:, position] = token.squeeze(1)
            belief = _condition(joint, chance, token)
        return tokens, None

    def oracle(self) -> "GeneralizedOracle":
        """Return the exact filter."""
        return GeneralizedOracle()

    def mixture(self, topics: Machines, weights: Tensor) -> "GeneralizedOracle":
        """Return the exact filter: all topics are the same."""
        return GeneralizedOracle(topics)

    def population(self) -> "GeneralizedOracle":
        """Return the exact filter."""
        return GeneralizedOracle(self.process)

    def optimum(self, reference: Reference, topics: Machines | None, weights: Tensor | None, length: int) -> Exact:
        """Return h_l, nats, l = 1 .. length; the same for every reference, NaN past the budget of beliefs."""
        return mixture_floor(self.process, torch.ones(1, dtype=torch.float64), length)

    def beliefs(self, batch: Batch) -> Tensor:
        """Return the belief after x_1 .. x_l, float64 (B, T, S); entries may be negative, they sum to 1."""
        steps, belief = batch.topics.transitions[0], batch.topics.start[batch.topic]
        found = []
        for token in batch.tokens.split(1, dim=1):
            belief = _condition(*_advance(belief, steps), token)
            found.append(belief)
        return torch.stack(found, dim=1)

    def bigrams(self, topics: Machines, length: int) -> tuple[Tensor, Tensor]:
        """Return the laws of the first token (K, V) and of neighbours (K, V, V), the mean over l = 2 .. length."""
        return machine_bigrams(topics, length)


class GeneralizedOracle:
    """The predictor that filters the process by eta <- eta T(x) / (eta T(x) 1), scaled at every step.

    Parameters
    ----------
    process : the process; the batch's own topics if None.

    """

    def __init__(self, process: Machines | None = None):
        self._process = process

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l), float64 (B, T), nats; -inf at an impossible token, NaN after."""
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return Pr(. | x_<l) at every position, float64 (B, T, V)."""
        process = batch.topics if self._process is None else self._process
        steps = process.transitions[0].to(batch.tokens.device)
        belief = process.start[:1].to(batch.tokens.device).expand(len(batch), -1)
        found = []
        for token in batch.tokens.split(1, dim=1):
            joint, chance = _advance(belief, steps)
            found.append(chance)
            belief = _condition(joint, chance, token)
        return CategoricalDistribution(torch.stack(found, dim=1).log())


def build(config: GeneralizedConfig) -> GeneralizedSource:
    """Build the source of a config."""
    transitions, start = in_reached_beliefs(np.array(config.matrices(), dtype=np.float64))
    return GeneralizedSource(
        Machines(
            transitions=torch.from_numpy(transitions)[None],
            start=torch.from_numpy(start)[None],
            numbers=torch.ones(1, dtype=torch.int64),
        )
    )


def in_reached_beliefs(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return transitions (V, R, R) and start (R,) in coordinates of R reached beliefs, from any matrices (V, S, S)."""
    largest, right = _leading(matrices.sum(0))
    matrices = matrices / largest
    start = _leading(matrices.sum(0).T)[1]
    start = start / (start @ right)
    reached = level = start[None]
    for _ in range(max(_DEPTH, matrices.shape[1])):
        joint = np.einsum("ns,vst->nvt", level, matrices)
        chance = joint @ right
        level = joint[chance > 1e-6] / chance[chance > 1e-6][:, None]
        level = level[: 1 << 10]
        reached = np.concatenate([reached, level])
    basis = _independent(reached)
    into = np.linalg.pinv(basis)
    return basis @ matrices @ into, start @ into


def _leading(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the largest eigenvalue and its right eigenvector."""
    values, vectors = np.linalg.eig(matrix)
    at = np.abs(values).argmax()
    return float(values[at].real), vectors[:, at].real


def _independent(rows: np.ndarray) -> np.ndarray:
    """Choose linearly independent rows (R, S) that span all rows, each as far from those before as there is."""
    chosen: list[int] = []
    left = rows.copy()
    while np.abs(left).max() > 1e-9 * np.abs(rows).max():
        at = int((left**2).sum(1).argmax())
        chosen.append(at)
        direction = left[at] / np.linalg.norm(left[at])
        left = left - np.outer(left @ direction, direction)
    return rows[chosen]


def _advance(belief: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Return eta T(x) (B, V, S) and Pr(x) (B, V), exactly 0 where rounding hides it.

    Written as sums over states in order, so that a sequence's bits do not depend on its neighbours.
    """
    joint, size = belief[:, 0, None, None] * steps[:, 0], belief[:, 0].abs()
    for state in range(1, steps.shape[1]):
        joint, size = joint + belief[:, state, None, None] * steps[:, state], size + belief[:, state].abs()
    chance = joint[..., 0]
    for state in range(1, steps.shape[1]):
        chance = chance + joint[..., state]
    hidden = _ROUNDING * steps.abs().max() * size[:, None]
    return joint, chance.masked_fill(chance <= hidden, 0.0)  # NaN stays


def _condition(joint: Tensor, chance: Tensor, token: Tensor) -> Tensor:
    """Return the beliefs after tokens (B, 1), (B, S); NaN after an impossible one."""
    rows = token[..., None].expand(-1, -1, joint.shape[-1])
    seen = chance.gather(1, token)
    return joint.gather(1, rows).squeeze(1) / seen.masked_fill(seen == 0, torch.nan)
