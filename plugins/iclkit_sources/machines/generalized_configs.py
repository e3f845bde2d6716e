"""Generalized hidden Markov models of the sibling papers: their keys, and their matrices in pure Python.

The entries of `matrices[x][i][j]` may be negative; only the probabilities of words must not be. They are those of
Pr(x_1 .. x_l) = (pi T(x_1) .. T(x_l) w) / (pi w), with pi and w the left and right eigenvectors of T = sum_x T(x) for
its largest eigenvalue, by which all T(x) are divided (arXiv 2505.18373).
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

from attrs import frozen

from iclkit.api import Categorical, Facts, Listed, SourceSpec, option
from iclkit_sources.checks import Problem
from iclkit_sources.machines.zoo import Matrices

_RUN = 400  # tokens after which a decaying component no longer matters


class GeneralizedConfig(Protocol):
    """A config that describes one generalized hidden Markov model."""

    def matrices(self) -> Matrices:
        """Return matrices[x][i][j], up to one common factor."""
        ...


@frozen(kw_only=True)
class Fanizza:
    """A renewal process of four dimensions that no finite hidden Markov model generates; token 0 renews."""

    alpha: float = option("angle between two tokens 1, radians", default=2000.0)
    lamb: float = option("how a run of tokens 1 decays", default=0.49, above=0, below=1)

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        runs = [self._run(length) for length in range(_RUN)]
        if min(earlier - later for earlier, later in pairwise(runs)) < -1e-12:
            yield "lamb", f"is too large: with alpha {self.alpha:g} some word would have a negative probability"

    def matrices(self) -> Matrices:
        """Return D_a = w pi0 and D_b = lamb (0, 1, rotation by alpha)."""
        decay, cos, sin = self.lamb, math.cos(self.alpha), math.sin(self.alpha)
        right = (1, 1 - decay, 1 + decay * (sin - cos), 1 - decay * (sin + cos))
        renewed = tuple(tuple(w * entry for entry in self._renewal()) for w in right)
        onward = ((0, 0, 0, 0), (0, 1, 0, 0), (0, 0, cos, -sin), (0, 0, sin, cos))
        return renewed, tuple(tuple(decay * entry for entry in row) for row in onward)

    def _renewal(self) -> tuple[float, float, float, float]:
        decay, cos, sin = self.lamb, math.cos(self.alpha), math.sin(self.alpha)
        scale = 1 - 2 * decay * cos + decay**2
        a, b = (1 - decay * cos + decay * sin) / scale, (1 - decay * cos - decay * sin) / scale
        return 1 - (2 / (1 - decay) - a - b) / 4, 1 / (2 * (1 - decay)), -a / 4, -b / 4

    def _run(self, length: int) -> float:
        """Return the probability that `length` tokens 1 follow a renewal."""
        start, one, first, second = self._renewal()
        cos, sin = math.cos(length * self.alpha), math.sin(length * self.alpha)
        turned = first * (cos - sin) + second * (sin + cos)
        return self.lamb**length * (one + turned) + (start if length == 0 else 0.0)


@frozen(kw_only=True)
class PostQuantum:
    """A process of three dimensions and tokens that no quantum system of that dimension generates."""

    alpha: float = option("growth under token 1", default=math.e, above=1)
    beta: float = option("decay under token 2", default=0.5, above=0, below=1)

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        if self.alpha + self.beta == 2:
            yield "beta", "alpha + beta must not be 2"

    def matrices(self) -> Matrices:
        """Return the matrices, not yet divided by the eigenvalue."""

        def scaling(v: float) -> tuple[tuple[float, ...], ...]:
            return (v, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, math.log(v), 1.0)

        reset = tuple(tuple(float(w * entry) for entry in (1, -1, -1)) for w in (1, 1, 0))
        return reset, scaling(self.alpha), scaling(self.beta)


@frozen(kw_only=True)
class TomQuantum:
    """A walk in a slice of the Bloch sphere: three dimensions, four tokens."""

    alpha: float = option("first amplitude", default=1.0)
    beta: float = option("second amplitude", default=1.0)

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        if self.alpha == self.beta == 0:
            yield "alpha", "alpha and beta must not both be 0"

    def matrices(self) -> Matrices:
        """Return the four matrices."""
        scale = 1 / (4 * (self.alpha**2 + self.beta**2))
        kept, turned = (self.alpha**2 - self.beta**2) * scale, 2 * self.alpha * self.beta * scale
        flat = [((0.25, 0.0, o), (0.0, kept, 0.0), (o, 0.0, 0.25)) for o in (turned, -turned)]
        steep = [((0.25, o, 0.0), (o, 0.25, 0.0), (0.0, 0.0, kept)) for o in (turned, -turned)]
        return (*flat, *steep)


def generalized_facts(config: GeneralizedConfig) -> Facts:
    """One process is one listed topic."""
    return Facts(space=Categorical(len(config.matrices())), topics=Listed(weights=(1.0,)), stationary=True)


_PROCESSES = (
    ("fanizza", "A renewal process of a generalized HMM that no finite HMM generates.", Fanizza),
    ("post-quantum", "A generalized HMM beyond quantum models of its dimension.", PostQuantum),
    ("tom-quantum", "A generalized HMM: a walk in a slice of the Bloch sphere.", TomQuantum),
)

SPECS = tuple(
    SourceSpec(
        name=name,
        summary=summary,
        config=config,
        build="iclkit_sources.machines.generalized:build",
        facts=generalized_facts,
    )
    for name, summary, config in _PROCESSES
)
