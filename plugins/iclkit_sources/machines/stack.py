"""Stacks of hidden Markov models over one vocabulary: the topics of every HMM source."""

from collections.abc import Sequence

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from iclkit_sources.machines.zoo import Process


@frozen(kw_only=True, eq=False)
class Machines:
    """K edge-emitting hidden Markov models; states and tokens that one lacks have probability 0, which is exact.

    Parameters
    ----------
    transitions : float64 tensor (K, V, S, S), Pr(token v, next state j | state i) at [k, v, i, j].
    start : float64 tensor (K, S), distribution of the state before the first token.
    numbers : int64 tensor (K,), the topics' numbers.

    """

    transitions: Tensor
    start: Tensor
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> "Machines":
        return Machines(transitions=self.transitions[index], start=self.start[index], numbers=self.numbers[index])

    @property
    def vocabulary(self) -> int:
        """V, how many tokens there are."""
        return self.transitions.shape[1]

    @property
    def states(self) -> int:
        """S, how many states each has at most."""
        return self.transitions.shape[2]

    @property
    def emissions(self) -> Tensor:
        """Pr(token v | state i) at [k, v, i], float64 (K, V, S)."""
        return self.transitions.sum(-1)

    def to(self, device: torch.device) -> "Machines":
        """Return the same machines on a device."""
        return Machines(
            transitions=self.transitions.to(device), start=self.start.to(device), numbers=self.numbers.to(device)
        )

    def relabel(self, vocabulary: Sequence[int], size: int) -> "Machines":
        """Return the machines emitting vocabulary[v] for their token v, over `size` tokens."""
        count, _, states, _ = self.transitions.shape
        transitions = self.transitions.new_zeros(count, size, states, states)
        transitions[:, list(vocabulary)] = self.transitions
        return Machines(transitions=transitions, start=self.start, numbers=self.numbers)


def machine(process: Process) -> Machines:
    """Make one machine of a process; rows are normalised, a missing start is the stationary distribution."""
    matrices = np.asarray(process.matrices, dtype=np.float64)
    matrices = matrices / matrices.sum(axis=(0, 2))[:, None]
    start = stationary(matrices.sum(0)) if process.start is None else np.asarray(process.start, dtype=np.float64)
    return Machines(
        transitions=torch.from_numpy(matrices)[None],
        start=torch.from_numpy(start / start.sum())[None],
        numbers=torch.ones(1, dtype=torch.int64),
    )


def stationary(chain: np.ndarray) -> np.ndarray:
    """Return the unique pi with pi = pi chain, float64 (S,), of a row-stochastic matrix with one closed class."""
    states = len(chain)
    equations = np.vstack([chain.T - np.eye(states), np.ones(states)])
    solution = np.linalg.lstsq(equations, np.append(np.zeros(states), 1.0), rcond=None)[0]
    solution = np.where(np.abs(solution) < 1e-14, 0.0, solution).clip(min=0)
    return solution / solution.sum()


def concatenate(stacks: Sequence[Machines]) -> Machines:
    """Stack machines over one vocabulary, padding states; they are numbered anew, 1 .. K."""
    states = max(stack.states for stack in stacks)
    transitions = torch.cat([_pad(stack.transitions, states, 2) for stack in stacks])
    start = torch.cat([_pad(stack.start, states, 1) for stack in stacks])
    return Machines(transitions=transitions, start=start, numbers=torch.arange(1, len(start) + 1))


def _pad(tensor: Tensor, states: int, dims: int) -> Tensor:
    return torch.nn.functional.pad(tensor, (0, states - tensor.shape[-1]) * dims)
