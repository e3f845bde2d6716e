"""Named processes as labelled transition matrices, in pure Python.

`matrices[x][i][j]` is Pr(emit x, go to j | state i): edge-emitting, rows are states to leave, so that
Pr(x_1 .. x_l) = start T(x_1) .. T(x_l) 1 (arXiv 2505.18373). `start` is the stationary distribution, in closed form
where there is one; None where it is to be computed.
"""

from attrs import frozen

Matrices = tuple[tuple[tuple[float, ...], ...], ...]


@frozen
class Process:
    """A hidden Markov model over tokens 0 .. len(matrices)-1."""

    matrices: Matrices
    start: tuple[float, ...] | None = None


def coin(p: float) -> Process:
    """Token 0 with probability p, else 1: independent tosses. Entropy rate H_b(p)."""
    return Process((((p,),), ((1 - p,),)), (1.0,))


def golden_mean(p: float, ones: int = 1, zeros: int = 1) -> Process:
    """Runs of exactly R ones, each followed by k zeros; states are the places in such a run, state 0 outside.

    Outside, 0 stays (1-p) and 1 begins a run (p). R = k = 1 is the Golden Mean: no two 1s in a row.
    Entropy rate H_b(p) / (1 + (R+k-1) p).
    """
    states = ones + zeros
    edges = [(0, 0, 0, 1 - p), (0, 1, 1, p)]
    edges += [(place, 1 if place < ones else 0, (place + 1) % states, 1.0) for place in range(1, states)]
    total = 1 + (states - 1) * p
    return Process(_labelled(2, states, edges), (1 / total, *[p / total] * (states - 1)))


def even(p: float) -> Process:
    """Runs of 1s have even length. State A: 0 and stay (1-p), 1 to B (p); B: 1 to A. Entropy rate H_b(p)/(1+p)."""
    zero = ((1 - p, 0.0), (0.0, 0.0))
    one = ((0.0, p), (1.0, 0.0))
    return Process((zero, one), (1 / (1 + p), p / (1 + p)))


def mess3(x: float, a: float) -> Process:
    """Three states and tokens: T(k)[i, j] = (1-2x if i = j else x) * (a if j = k else (1-a)/2)."""
    move = [[1 - 2 * x if i == j else x for j in range(3)] for i in range(3)]
    show = [[a if j == k else (1 - a) / 2 for j in range(3)] for k in range(3)]
    matrices = tuple(tuple(tuple(move[i][j] * show[k][j] for j in range(3)) for i in range(3)) for k in range(3))
    return Process(matrices, (1 / 3, 1 / 3, 1 / 3))


def mr_name(p: float, q: float) -> Process:
    """One author of the name mixture: a Markov chain on 0 Mr., 1 Something, 2 Blah, 3 the name.

    Mr. is followed by the name; the name by Something or Blah evenly; Something and Blah by Mr. (q), the other (p)
    or themselves (1-p-q).
    """
    chain = (
        (0.0, 0.0, 0.0, 1.0),
        (q, 1 - p - q, p, 0.0),
        (q, p, 1 - p - q, 0.0),
        (0.0, 0.5, 0.5, 0.0),
    )
    matrices = tuple(
        tuple(tuple(chain[i][j] if j == token else 0.0 for j in range(4)) for i in range(4)) for token in range(4)
    )
    total = 1 + 2 * q
    return Process(matrices, (q / total, 0.5 / total, 0.5 / total, q / total))


def teddy_bear(p: float, q: float) -> Process:
    """Two loops out of A: 1 1 1 (p), or 2 2 2 0 0 (q), else 0 and stay. Entropy rate H(1-p-q, p, q) / (1+2p+4q)."""
    edges = [(0, 0, 0, 1 - p - q), (0, 1, 1, p), (1, 1, 2, 1.0), (2, 1, 0, 1.0)]
    edges += [(0, 2, 3, q), (3, 2, 4, 1.0), (4, 2, 5, 1.0), (5, 0, 6, 1.0), (6, 0, 0, 1.0)]
    total = 1 + 2 * p + 4 * q
    return Process(_labelled(3, 7, edges), tuple(weight / total for weight in (1, p, p, q, q, q, q)))


def sns(p: float, q: float) -> Process:
    """The simple nonunifilar source (arXiv 1702.08565, figure 2).

    State A: 0 and stay (1-p) or to B (p); B: 0 and stay (1-q), 1 to A (q).
    """
    edges = [(0, 0, 0, 1 - p), (0, 0, 1, p), (1, 0, 1, 1 - q), (1, 1, 0, q)]
    return Process(_labelled(2, 2, edges), (q / (p + q), p / (p + q)))


def zero_one_random(p: float) -> Process:
    """A cycle of 0, 1 and a toss that is 1 with probability p. Entropy rate H_b(p) / 3."""
    edges = [(0, 0, 1, 1.0), (1, 1, 2, 1.0), (2, 0, 0, 1 - p), (2, 1, 0, p)]
    return Process(_labelled(2, 3, edges), (1 / 3, 1 / 3, 1 / 3))


def rrxor(p1: float, p2: float) -> Process:
    """Two tosses, 0 with probabilities p1 and p2, then their exclusive or. Entropy rate (H_b(p1) + H_b(p2)) / 3.

    States: before the first toss; after a 0; after a 1; the third token will be 1; it will be 0.
    """
    edges = [(0, 0, 1, p1), (0, 1, 2, 1 - p1), (1, 0, 4, p2), (1, 1, 3, 1 - p2)]
    edges += [(2, 0, 3, p2), (2, 1, 4, 1 - p2), (3, 1, 0, 1.0), (4, 0, 0, 1.0)]
    one = p1 * (1 - p2) + (1 - p1) * p2
    return Process(_labelled(2, 5, edges), (1 / 3, p1 / 3, (1 - p1) / 3, one / 3, (1 - one) / 3))


def leaky_rrxor(p1: float, p2: float, eps: float) -> Process:
    """Rrxor that with probability eps emits any token and goes to any state, evenly."""
    matrices = rrxor(p1, p2).matrices
    return Process(tuple(tuple(tuple((1 - eps) * x + eps / 10 for x in row) for row in each) for each in matrices))


def matching_parens(p: float, q: float, n: int) -> Process:
    """Balanced parentheses of depth 0 .. n; tokens 0 outside, 1 opening, 2 closing.

    Depth 0 opens with probability p, depths between open with q, depth n must close.
    """
    edges = [(0, 0, 0, 1 - p), (0, 1, 1, p), (n, 2, n - 1, 1.0)]
    for depth in range(1, n):
        edges += [(depth, 1, depth + 1, q), (depth, 2, depth - 1, 1 - q)]
    return Process(_labelled(3, n + 1, edges))


def days_of_week() -> Process:
    """Days said one after the other: 0-6 Monday to Sunday by name, 7 tomorrow, 8 yesterday, 9 weekend, 10 weekday.

    The state is the day that was meant last. A day's name has weight 1, that of the next day 5; each of the four
    other words 1, spread over the days it means.
    """
    edges = []
    for day in range(7):
        following = (day + 1) % 7
        edges += [(day, name, name, (5 if name == following else 1) / 15) for name in range(7)]
        edges += [(day, 7, following, 1 / 15), (day, 8, (day - 1) % 7, 1 / 15)]
        edges += [(day, 9, other, 1 / 2 / 15) for other in (5, 6)]
        edges += [(day, 10, other, 1 / 5 / 15) for other in range(5)]
    return Process(_labelled(11, 7, edges))


def _labelled(tokens: int, states: int, edges: list[tuple[int, int, int, float]]) -> Matrices:
    """Return the matrices of edges (from, token, to, probability); all other entries are 0."""
    matrices = [[[0.0] * states for _ in range(states)] for _ in range(tokens)]
    for leaving, token, entering, probability in edges:
        matrices[token][leaving][entering] += probability
    return tuple(tuple(map(tuple, matrix)) for matrix in matrices)
