"""Finite mixed-state presentations: the graph of all beliefs that a process can lead an observer to.

With W[eta, eta'] the sum of Pr(x | eta) over the tokens x that lead from eta to eta', and |H> the entropies of the next
token at each belief, h_l = <delta| W^(l-1) |H> (arXiv 2505.18373, 1.3): a third way to the floor, beside enumeration
level by level and differences of block entropies, at the same cost for every l.
"""

import numpy as np
from attrs import frozen
from torch import Tensor

from iclkit.api import Exact
from iclkit_sources.machines.enumeration import continuity, entropies
from iclkit_sources.machines.stack import Machines

SAME = 1e-12
"""Beliefs at no larger an L1 distance are one; the largest distance that was met is in the error."""


@frozen(kw_only=True, eq=False)
class Presentation:
    """The beliefs that a process can lead to from its first, which has index 0.

    Parameters
    ----------
    beliefs : float64 array (n, K, S), over topic and state together.
    chance : float64 array (n, V), Pr(x | belief).
    successor : int64 array (n, V), the belief after x; -1 where x is impossible.
    moved : the largest L1 distance between beliefs that were taken for one.

    """

    beliefs: np.ndarray
    chance: np.ndarray
    successor: np.ndarray
    moved: float

    def __len__(self) -> int:
        return len(self.beliefs)

    @property
    def matrix(self) -> np.ndarray:
        """W, float64 (n, n), row-stochastic."""
        matrix = np.zeros((len(self), len(self)))
        rows, tokens = np.nonzero(self.successor >= 0)
        np.add.at(matrix, (rows, self.successor[rows, tokens]), self.chance[rows, tokens])
        return matrix

    @property
    def entropy(self) -> np.ndarray:
        """|H>, the entropy of the next token at each belief, float64 (n,), nats."""
        return entropies(self.chance)

    def floor(self, length: int) -> Exact:
        """Return h_l, nats, l = 1 .. length."""
        entropy, values = self.entropy, np.empty(length)
        at: np.ndarray = np.zeros(len(self))
        rows, tokens = np.nonzero(self.successor >= 0)
        entering, chance = self.successor[rows, tokens], self.chance[rows, tokens]
        at[0] = 1
        for position in range(length):
            values[position] = at @ entropy
            at = np.bincount(entering, at[rows] * chance, len(self))
        steps = np.arange(length)
        lost = np.array([continuity(step * self.moved, self.chance.shape[1]) for step in steps])
        return Exact(values=values, method="mixed-state-matrix", error=lost + 1e-14 + 1e-15 * steps)


def present(machines: Machines, weights: Tensor, limit: int = 512) -> Presentation | None:
    """Return the presentation of a mixture of machines, weights (K,) summing to 1; None beyond `limit` beliefs."""
    transitions = machines.transitions.cpu().numpy()  # (K, V, S, S)
    beliefs: np.ndarray = (weights[:, None] * machines.start).cpu().numpy()[None]  # (n, K, S)
    chances: list[np.ndarray] = []
    successors: list[np.ndarray] = []
    moved, done = 0.0, 0
    while done < len(beliefs):
        joint = np.einsum("ks,kvst->vkt", beliefs[done], transitions, optimize=True)
        chance = joint.sum((1, 2))
        successor: np.ndarray = np.full(len(chance), -1)
        for token in np.nonzero(chance > 0)[0]:
            belief = joint[token] / chance[token]
            distance = np.abs(beliefs - belief).sum((1, 2))
            nearest = int(distance.argmin())
            if distance[nearest] > SAME:
                nearest = len(beliefs)
                if nearest == limit:
                    return None
                beliefs = np.concatenate([beliefs, belief[None]])
            else:
                moved = max(moved, float(distance[nearest]))
            successor[token] = nearest
        chances.append(chance)
        successors.append(successor)
        done += 1
    return Presentation(beliefs=beliefs, chance=np.array(chances), successor=np.array(successors), moved=moved)
