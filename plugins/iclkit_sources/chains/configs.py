"""The keys of Markov chains and dice, and what can be said of them without building them."""

from collections.abc import Iterator

from attrs import frozen

from iclkit.api import Categorical, Drawn, Facts, Listed, SourceSpec, option
from iclkit_sources.checks import TOLERANCE, Problem, normalised, weight_problems

_LARGEST = 1 << 22  # probabilities of one topic


@frozen(kw_only=True)
class Markov:
    """Markov chains of any order whose rows are drawn from a Dirichlet law, independently for each context.

    The first `order` tokens are uniform and independent: they tell nothing about the chain.
    """

    vocabulary: int = option("number of tokens", default=5, at_least=2)
    order: int = option("how many tokens back the next one depends on", default=1, at_least=1, at_most=64)
    concentration: float | None = option("of the Dirichlet law, for every token; 1 if absent", default=None, above=0)
    concentrations: tuple[float, ...] | None = option(
        "of the Dirichlet law, token by token, in place of one for all", default=None, above=0
    )

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        if self.vocabulary ** (self.order + 1) > _LARGEST:
            yield "order", f"makes {self.vocabulary}^{self.order + 1} probabilities per topic; allowed: {_LARGEST}"
        yield from _concentration_problems(self.concentration, self.concentrations, self.vocabulary)

    def prior(self) -> tuple[float, ...]:
        """Return the Dirichlet parameters, one per token."""
        return _prior(self.concentration, self.concentrations, self.vocabulary)


@frozen(kw_only=True)
class Dice:
    """Dice: given ones, or with the probabilities of their sides drawn from a Dirichlet law."""

    faces: tuple[tuple[float, ...], ...] | None = option(
        "probabilities of each given die's sides; without them dice are drawn", default=None, at_least=0, at_most=1
    )
    weights: tuple[float, ...] | None = option(
        "weights of the given dice, of any sum; equal if absent", default=None, above=0
    )
    sides: int | None = option("number of sides of drawn dice; 6 if absent", default=None, at_least=2)
    concentration: float | None = option("of the Dirichlet law, for every side; 1 if absent", default=None, above=0)
    concentrations: tuple[float, ...] | None = option(
        "of the Dirichlet law, side by side, in place of one for all", default=None, above=0
    )

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        if self.faces is None:
            if self.weights is not None:
                yield "weights", "belong to given dice; give faces too, or leave them out"
            yield from _concentration_problems(self.concentration, self.concentrations, self.size())
            return
        if not self.faces or not self.faces[0]:
            yield "faces", "needs at least one die of at least one side"
            return
        for key in ("sides", "concentration", "concentrations"):
            if getattr(self, key) is not None:
                yield key, "belongs to drawn dice; leave it out where faces are given"
        for index, die in enumerate(self.faces):
            if len(die) != len(self.faces[0]):
                yield f"faces[{index}]", f"has {len(die)} sides, but the first die has {len(self.faces[0])}"
            if not all(0 <= side <= 1 for side in die) or abs(sum(die) - 1) > TOLERANCE:
                yield f"faces[{index}]", f"must be probabilities that sum to 1, not to {sum(die):.12g}"
        yield from weight_problems(self.weights, len(self.faces), "faces")

    def size(self) -> int:
        """Return the number of sides."""
        if self.faces is not None:
            return len(self.faces[0])
        return 6 if self.sides is None else self.sides

    def prior(self) -> tuple[float, ...]:
        """Return the Dirichlet parameters, one per side."""
        return _prior(self.concentration, self.concentrations, self.size())


def markov_facts(config: Markov) -> Facts:
    """Drawn topics; every reference exists."""
    return Facts(space=Categorical(config.vocabulary), topics=Drawn())


def dice_facts(config: Dice) -> Facts:
    """Given dice are listed, others drawn; every reference exists."""
    if config.faces is None:
        return Facts(space=Categorical(config.size()), topics=Drawn(), stationary=True)
    weights = normalised(config.weights, len(config.faces))
    return Facts(space=Categorical(config.size()), topics=Listed(weights=weights), stationary=True)


def _concentration_problems(one: float | None, many: tuple[float, ...] | None, size: int) -> Iterator[Problem]:
    if many is None:
        return
    if one is not None:
        yield "concentrations", "are given beside a concentration for all; leave out one of the two"
    if len(many) != size:
        yield "concentrations", f"has {len(many)} entries, but there are {size} tokens"


def _prior(one: float | None, many: tuple[float, ...] | None, size: int) -> tuple[float, ...]:
    return many if many is not None else (1.0 if one is None else one,) * size


SPECS = (
    SourceSpec(
        name="markov",
        summary="Markov chains of any order with rows drawn from a Dirichlet law.",
        config=Markov,
        build="iclkit_sources.chains.source:build_markov",
        facts=markov_facts,
    ),
    SourceSpec(
        name="dice",
        summary="Dice of any number of sides: given ones, or drawn from a Dirichlet law.",
        config=Dice,
        build="iclkit_sources.chains.source:build_dice",
        facts=dice_facts,
    ),
)
