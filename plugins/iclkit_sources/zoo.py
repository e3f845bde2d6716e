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


def golden_mean(p: float) -> Process:
    """No two 1s in a row. State A: 0 and stay (1-p), 1 to B (p); B: 0 to A. Entropy rate H_b(p)/(1+p)."""
    zero = ((1 - p, 0.0), (1.0, 0.0))
    one = ((0.0, p), (0.0, 0.0))
    return Process((zero, one), (1 / (1 + p), p / (1 + p)))


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
