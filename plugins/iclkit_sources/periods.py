"""The exact floor of repeated blocks, by counting words by their sets of periods.

Pr(x_1 .. x_l) depends on the word only through which of the lengths shortest .. longest are periods of it. Words with
at least the periods S number V^c, c being how many classes the positions fall into when j and j - n are joined for
all n in S; words with exactly these follow by subtracting those with more, largest sets first. Only closed sets (that
contain every period they imply) occur. h_l is the difference of the entropies of l and of l - 1 tokens. From 2 longest
tokens on all periods are multiples of one (Fine and Wilf, 1965), so nothing is left to be learned.
"""

import math
from fractions import Fraction

import numpy as np

from iclkit.api import Exact

SETS = 3_000
"""How many sets of periods a length may have; past it the floor is NaN."""


def block_floor(size: int, shortest: int, longest: int, length: int) -> Exact:
    """Return h_l of blocks over `size` tokens, nats, l = 1 .. length."""
    values, error = np.full(length, np.nan), np.full(length, np.nan)
    values[:shortest], error[:shortest] = math.log(size), 0.0
    values[2 * longest :], error[2 * longest :] = 0.0, 0.0
    before: float | None = shortest * math.log(size)
    for seen in range(shortest + 1, min(length, 2 * longest) + 1):
        entropy = _word_entropy(size, shortest, longest, seen)
        if entropy is None:
            break
        assert before is not None
        values[seen - 1], error[seen - 1] = max(0.0, entropy - before), 1e-15 * (4 + seen) * (1 + entropy)
        before = entropy
    return Exact(values=values, method="belief-enumeration", error=error)


def _word_entropy(size: int, shortest: int, longest: int, seen: int) -> float | None:
    """Return the entropy of the first `seen` tokens, nats; None past the budget."""
    periods = range(shortest, min(longest, seen - 1) + 1)
    sets = _closed_sets(periods, seen)
    if sets is None:
        return None
    total = longest - shortest + 1
    unfinished = longest - max(seen, shortest) + 1 if seen <= longest else 0  # lengths of at least `seen`
    power = max(longest, seen)
    exactly: dict[int, int] = {}
    entropy = 0.0
    for own in sorted(sets, key=int.bit_count, reverse=True):
        count = size ** sets[own] - sum(number for other, number in exactly.items() if other & own == own)
        exactly[own] = count
        weight = unfinished * size ** (power - seen)  # Pr(word) = weight / (total V^power)
        weight += sum(size ** (power - period) for period in periods if own >> period & 1)
        if weight and count:
            chance = Fraction(count * weight, total * size**power)
            entropy += float(chance) * (math.log(total) + power * math.log(size) - math.log(weight))
    return entropy


def _closed_sets(periods: range, seen: int) -> dict[int, int] | None:
    """Return the closed sets, as bit masks, with their numbers of classes of positions; None past the budget."""
    single = list(range(seen))
    known: dict[int, int] = {0: seen}
    waiting = [(0, single)]
    while waiting:
        own, labels = waiting.pop()
        for period in periods:
            if own >> period & 1:
                continue
            joined = _join(labels, period)
            closed = sum(1 << other for other in periods if joined[other:] == joined[:-other])
            if closed not in known:
                if len(known) == SETS:
                    return None
                known[closed] = len(set(joined))
                waiting.append((closed, joined))
    return known


def _join(labels: list[int], period: int) -> list[int]:
    """Return the classes of positions, each named by its first position, once j and j - period are joined."""
    first = list(range(len(labels)))

    def root(label: int) -> int:
        while first[label] != label:
            label = first[label]
        return label

    for one, other in zip(labels[period:], labels[:-period], strict=True):
        low, high = sorted((root(one), root(other)))
        first[high] = low
    return [root(label) for label in labels]
