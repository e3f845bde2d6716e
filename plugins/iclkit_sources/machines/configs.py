"""The keys of the sources with a kind of their own, and what can be said of them without building them."""

from collections.abc import Iterator
from typing import Protocol

from attrs import frozen

from iclkit.api import Categorical, ConfigPath, Facts, Listed, SourceSpec, option
from iclkit_sources.checks import Problem, matrix_problems, normalised, start_problems, weight_problems
from iclkit_sources.machines import zoo
from iclkit_sources.machines.matrix_file import read_process
from iclkit_sources.machines.zoo import Process


@frozen(kw_only=True)
class Hmm:
    """A hidden Markov model given by its labelled transition matrices, here or in a NumPy file."""

    matrices: tuple[tuple[tuple[float, ...], ...], ...] | None = option(
        "matrices[x][i][j] = Pr(token x, next state j | state i)", default=None, at_least=0, at_most=1
    )
    start: tuple[float, ...] | None = option(
        "distribution of the first state; stationary if absent", default=None, at_least=0, at_most=1
    )
    file: ConfigPath | None = option(
        "in place of matrices, an .npz file: transitions (V, S, S) as above and, optionally, start (S,)", default=None
    )

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        if (self.matrices is None) == (self.file is None):
            yield (
                "matrices",
                "missing; give matrices or a file" if self.file is None else "leave them out beside a file",
            )
            return
        if self.file is not None and self.start is not None:
            yield "start", "leave it out beside a file; put an array named start into the file"
            return
        try:
            process = self.process()
        except ValueError as bad:
            yield "file", str(bad)
            return
        problems = list(matrix_problems(process.matrices)) or list(start_problems(process.start, process.matrices))
        named = {"matrices": "transitions", "start": "start"}
        for key, message in problems:
            yield (key, message) if self.file is None else ("file", f"array {named[key]}: {message}")

    def process(self) -> Process:
        """Return the process; raises ValueError where the file does not hold one."""
        if self.file is not None:
            return read_process(self.file)
        return Process(self.matrices or (), self.start)


@frozen(kw_only=True)
class GoldenMean:
    """The (R, k) Golden Mean family (arXiv 2505.18373); its first member, the default, has no two 1s in a row."""

    p: float = option("probability that a run of 1s begins where it may", default=0.5, at_least=0, at_most=1)
    ones: int = option("R, the length of every run of 1s", default=1, at_least=1)
    zeros: int = option("k, how many 0s must follow a run", default=1, at_least=1)

    def process(self) -> Process:
        """Return the process."""
        return zoo.golden_mean(self.p, self.ones, self.zeros)


@frozen(kw_only=True)
class Even:
    """The Even process: runs of 1s have even length (arXiv 2505.18373)."""

    p: float = option("probability that a run of 1s goes on", default=0.5, at_least=0, at_most=1)

    def process(self) -> Process:
        """Return the process."""
        return zoo.even(self.p)


@frozen(kw_only=True)
class Mess3:
    """The Mess3 process: three noisy states, uncountably many beliefs."""

    x: float = option("probability of each change of state", default=0.15, at_least=0, at_most=0.5)
    a: float = option("probability that the token shows the state", default=0.6, at_least=0, at_most=1)

    def process(self) -> Process:
        """Return the process."""
        return zoo.mess3(self.x, self.a)


class ProcessConfig(Protocol):
    """A config that describes one process."""

    def process(self) -> Process:
        """Return the process."""
        ...


def process_facts(config: ProcessConfig) -> Facts:
    """One process is one listed topic."""
    process = config.process()
    space = Categorical(len(process.matrices))
    return Facts(space=space, topics=Listed(weights=(1.0,)), stationary=process.start is None)


@frozen(kw_only=True)
class MrName:
    """The name mixture (arXiv 2505.18373): authors who share all words but the name after "Mr.".

    Tokens: 0 Mr., 1 Something, 2 Blah, 3 + k the name of author k. Each author is a topic.
    """

    p: float = option("probability of the other filler word after a filler", default=0.4, at_least=0, at_most=1)
    q: float = option("probability of Mr. after a filler word", default=0.25, at_least=0, at_most=1)
    names: int = option("number of names, one topic each", default=2, at_least=1, at_most=100_000)
    weights: tuple[float, ...] | None = option(
        "weights of the names, of any sum; equal if absent", default=None, above=0
    )

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        if self.p + self.q > 1:
            yield "p", f"p + q must be at most 1, not {self.p + self.q:.12g}"
        yield from weight_problems(self.weights, self.names, "names")


def mr_name_facts(config: MrName) -> Facts:
    """The names are listed."""
    weights = normalised(config.weights, config.names)
    return Facts(space=Categorical(3 + config.names), topics=Listed(weights=weights), stationary=True)


_PROCESSES = (
    ("hmm", "A hidden Markov model given by labelled transition matrices.", Hmm),
    ("golden-mean", "Golden Mean family: runs of R ones, then k zeros; R = k = 1.", GoldenMean),
    ("even", "Even: runs of 1s have even length; of infinite Markov order.", Even),
    ("mess3", "Mess3: three noisy states with a fractal of beliefs.", Mess3),
)

SPECS = (
    *(
        SourceSpec(
            name=name,
            summary=summary,
            config=config,
            build="iclkit_sources.machines.listed:build_process",
            facts=process_facts,
        )
        for name, summary, config in _PROCESSES
    ),
    SourceSpec(
        name="mr-name",
        summary="Authors who differ only in the name after Mr.: induction in context.",
        config=MrName,
        build="iclkit_sources.machines.listed:build_mr_name",
        facts=mr_name_facts,
    ),
)
