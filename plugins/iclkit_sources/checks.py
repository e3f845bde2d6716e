"""What can be wrong with the numbers of a source, said with the name of the field. Pure Python."""

from collections.abc import Iterator, Sequence

from iclkit_sources.machines.zoo import Matrices

TOLERANCE = 1e-9
Problem = tuple[str, str]


def weight_problems(weights: Sequence[float] | None, count: int, what: str) -> Iterator[Problem]:
    """Say what is wrong with the weights of `count` things; any positive sum will do."""
    if weights is None:
        return
    if len(weights) != count:
        yield "weights", f"has {len(weights)} entries, but there are {count} {what}"
    if not all(0 < weight < float("inf") for weight in weights):
        yield "weights", "must all be positive and finite"
    elif weights and min(normalised(weights, len(weights))) == 0:
        yield "weights", "are too far apart: the smallest is nothing beside the largest"


def normalised(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Return weights that sum to 1; equal ones for None."""
    if weights is None:
        return (1 / count,) * count
    largest = max(weights)  # so that no sum overflows
    scaled = [weight / largest for weight in weights]
    total = sum(scaled)
    return tuple(weight / total for weight in scaled)


def matrix_problems(matrices: Matrices) -> Iterator[Problem]:
    """Say what is wrong with labelled transition matrices matrices[x][i][j] = Pr(x, j | i)."""
    states = len(matrices[0]) if matrices else 0
    if states == 0:
        yield "matrices", "needs one matrix per token, of at least one state"
        return
    for token, matrix in enumerate(matrices):
        if len(matrix) != states or any(len(row) != states for row in matrix):
            yield "matrices", f"must all be {states} by {states} like the first; that of token {token} is not"
            return
        if not all(0 <= entry <= 1 for row in matrix for entry in row):
            yield "matrices", f"must be probabilities, 0 to 1; that of token {token} has others"
            return
    for state in range(states):
        total = sum(sum(matrix[state]) for matrix in matrices)
        if abs(total - 1) > TOLERANCE:
            yield "matrices", f"row {state} summed over tokens and next states must be 1, not {total:.12g}"


def start_problems(start: Sequence[float] | None, matrices: Matrices) -> Iterator[Problem]:
    """Say what is wrong with a start distribution; None is refused where the stationary one is not unique."""
    states = len(matrices[0])
    if start is None:
        classes = _closed_classes(matrices)
        if classes > 1:
            yield "start", f"is needed: the chain has {classes} closed classes, so no unique stationary distribution"
    elif len(start) != states:
        yield "start", f"has {len(start)} entries, but there are {states} states"
    elif not all(0 <= entry <= 1 for entry in start) or abs(sum(start) - 1) > TOLERANCE:
        yield "start", f"must be probabilities that sum to 1, not to {sum(start):.12g}"


def map_problems(vocabularies: Sequence[Sequence[int]] | None, sizes: Sequence[int]) -> Iterator[Problem]:
    """Say what is wrong with the vocabulary maps of components with these vocabulary sizes."""
    if vocabularies is None:
        return
    if len(vocabularies) != len(sizes):
        yield "vocabularies", f"has {len(vocabularies)} maps, but there are {len(sizes)} components"
        return
    for index, (vocabulary, size) in enumerate(zip(vocabularies, sizes, strict=True)):
        if len(vocabulary) != size:
            yield f"vocabularies[{index}]", f"maps {len(vocabulary)} tokens, but component {index} has {size}"
        if any(token < 0 for token in vocabulary):
            yield f"vocabularies[{index}]", "must map to tokens of at least 0"
        seen: set[int] = set()
        twice = sorted({token for token in vocabulary if token in seen or seen.add(token)})  # type: ignore[func-returns-value]
        if twice:
            yield f"vocabularies[{index}]", f"maps several tokens to {twice[0]}; a map must not collide"


def _closed_classes(matrices: Matrices) -> int:
    """Count the sets of states that cannot be left and whose states reach each other."""
    states = range(len(matrices[0]))
    reach = [{j for j in states if i == j or any(matrix[i][j] > 0 for matrix in matrices)} for i in states]
    for via in states:
        for i in states:
            if via in reach[i]:
                reach[i] |= reach[via]
    closed = {frozenset(reach[i]) for i in states if all(i in reach[j] for j in reach[i])}
    return len(closed)
