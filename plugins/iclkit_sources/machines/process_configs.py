"""The keys of the named processes of arXiv 2505.18373 and its sibling papers, one hidden Markov model each."""

from collections.abc import Iterator

from attrs import frozen

from iclkit.api import SourceSpec, option
from iclkit_sources.checks import Problem
from iclkit_sources.machines import zoo
from iclkit_sources.machines.configs import process_facts
from iclkit_sources.machines.zoo import Process


@frozen(kw_only=True)
class Coin:
    """One biased coin, as in arXiv 2505.18373: p is the probability of token 0."""

    p: float = option("probability of token 0", default=0.5, at_least=0, at_most=1)

    def process(self) -> Process:
        """Return the process."""
        return zoo.coin(self.p)


@frozen(kw_only=True)
class TeddyBear:
    """The Teddy Bear process: loops 1 1 1 and 2 2 2 0 0 among 0s."""

    p: float = option("probability of the loop 1 1 1", default=1 / 3, at_least=0, at_most=1)
    q: float = option("probability of the loop 2 2 2 0 0", default=1 / 3, at_least=0, at_most=1)

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        if self.p + self.q > 1 + 1e-12:
            yield "p", f"p + q must be at most 1, not {self.p + self.q:.12g}"

    def process(self) -> Process:
        """Return the process."""
        return zoo.teddy_bear(self.p, min(self.q, 1 - self.p))


@frozen(kw_only=True)
class Sns:
    """The simple nonunifilar source: a 0 may hide a change of state."""

    p: float = option("probability that a 0 leaves the first state", default=0.5, above=0, at_most=1)
    q: float = option("probability of the 1 that leaves the second state", default=0.5, above=0, at_most=1)

    def process(self) -> Process:
        """Return the process."""
        return zoo.sns(self.p, self.q)


@frozen(kw_only=True)
class ZeroOneRandom:
    """A cycle of 0, 1 and a toss."""

    p: float = option("probability that the toss is 1", default=0.5, at_least=0, at_most=1)

    def process(self) -> Process:
        """Return the process."""
        return zoo.zero_one_random(self.p)


@frozen(kw_only=True)
class Rrxor:
    """Two tosses and their exclusive or, over and over."""

    p1: float = option("probability that the first toss is 0", default=0.5, at_least=0, at_most=1)
    p2: float = option("probability that the second toss is 0", default=0.5, at_least=0, at_most=1)

    def process(self) -> Process:
        """Return the process."""
        return zoo.rrxor(self.p1, self.p2)


@frozen(kw_only=True)
class LeakyRrxor:
    """Two tosses and their exclusive or, over and over, with anything possible at any time."""

    p1: float = option("probability that the first toss is 0", default=0.5, at_least=0, at_most=1)
    p2: float = option("probability that the second toss is 0", default=0.5, at_least=0, at_most=1)
    eps: float = option("probability of a leak: any token and any state, evenly", default=0.1, at_least=0, at_most=1)

    def process(self) -> Process:
        """Return the process."""
        return zoo.leaky_rrxor(self.p1, self.p2, self.eps)


@frozen(kw_only=True)
class MatchingParens:
    """Matching parentheses of limited depth; tokens: 0 outside, 1 opening, 2 closing."""

    p: float = option("probability of opening at depth 0", default=0.5, at_least=0, at_most=1)
    q: float = option("probability of opening at the depths between", default=0.5, at_least=0, below=1)
    n: int = option("the largest depth", default=10, at_least=1)

    def process(self) -> Process:
        """Return the process."""
        return zoo.matching_parens(self.p, self.q, self.n)


@frozen(kw_only=True)
class DaysOfWeek:
    """Days by name and by words that mean one or several of them; 11 tokens, 7 hidden days."""

    def process(self) -> Process:
        """Return the process."""
        return zoo.days_of_week()


_PROCESSES = (
    ("coin", "One biased coin; p is the probability of token 0.", Coin),
    ("teddy-bear", "Teddy Bear: loops 1 1 1 and 2 2 2 0 0 among 0s.", TeddyBear),
    ("sns", "The simple nonunifilar source: countably many beliefs.", Sns),
    ("zero-one-random", "A cycle of 0, 1 and a toss; Markov of order 3.", ZeroOneRandom),
    ("rrxor", "Two tosses and their exclusive or, over and over; 36 beliefs.", Rrxor),
    ("leaky-rrxor", "Two tosses and their exclusive or, with leaks.", LeakyRrxor),
    ("matching-parens", "Balanced parentheses of limited depth.", MatchingParens),
    ("days-of-week", "Days by name and by words such as yesterday and weekend.", DaysOfWeek),
)

SPECS = tuple(
    SourceSpec(
        name=name,
        summary=summary,
        config=config,
        build="iclkit_sources.machines.listed:build_process",
        facts=process_facts,
    )
    for name, summary, config in _PROCESSES
)
