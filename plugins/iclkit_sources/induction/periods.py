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

WORK = 10_000_000
"""How many positions may be joined for all lengths together (some seconds); past it the floor is NaN."""


def block_floor(size: int, shortest: int, longest: int, length: int) -> Exact:
    """Return h_l of blocks over `size` tokens, nats, l = 1 .. length."""
    values, error = np.full(length, np.nan), np.full(length, np.nan)
    values[:shortest], error[:shortest] = math.log(size), 0.0
    values[2 * longest :], error[2 * longest :] = 0.0, 0.0
    before, work = shortest * math.log(size), WORK
    for seen in range(shortest + 1, min(length, 2 * longest) + 1):
        periods = range(shortest, min(longest, seen - 1) + 1)
        each = len(periods) * seen
        sets = _closed_sets(periods, seen, work // each)
        if sets is None:
            break
        work -= len(sets) * (each + len(sets))
        entropy = _word_entropy(size, shortest, longest, seen, sets)
        values[seen - 1], error[seen - 1] = max(0.0, entropy - before), 1e-15 * (4 + seen) * (1 + entropy)
        before = entropy
    return Exact(values=values, method="belief-enumeration", error=error)


def _word_entropy(size: int, shortest: int, longest: int, seen: int, sets: dict[int, int]) -> float:
    """Return the entropy of the first `seen` tokens, nats, from their closed sets of periods."""
    periods = range(shortest, min(longest, seen - 1) + 1)
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


def _closed_sets(periods: range, seen: int, most: int) -> dict[int, int] | None:
    """Return the closed sets, as bit masks, with their numbers of classes of positions; None if there are too many."""
    known: dict[int, int] = {0: seen}
    waiting = [(0, list(range(seen)))]
    while waiting:
        own, labels = waiting.pop()
        for period in periods:
            if own >> period & 1:
                continue
            joined = _join(labels, period)
            closed = sum(1 << other for other in periods if joined[other:] == joined[:-other])
            if closed not in known:
                if len(known) >= most:
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
