"""The keys of coins, and what can be said of them without building them."""

from collections.abc import Iterator

from attrs import frozen

from iclkit.api import Categorical, Drawn, Facts, Listed, SourceSpec, option
from iclkit_sources.checks import Problem, normalised, weight_problems


@frozen(kw_only=True)
class Coins:
    """Biased coins: given ones, or drawn from a Beta prior (uniform if nothing is said).

    A bias is the probability of token 1. (The `coin(p)` of arXiv 2505.18373 has Pr(0) = p.)
    """

    biases: tuple[float, ...] | None = option(
        "probabilities of token 1, one per coin; without them biases are drawn from Beta(alpha, beta)",
        default=None,
        at_least=0,
        at_most=1,
    )
    weights: tuple[float, ...] | None = option(
        "weights of the given coins, of any sum; equal if absent", default=None, above=0
    )
    alpha: float | None = option("first parameter of the Beta prior; 1 if absent", default=None, above=0)
    beta: float | None = option("second parameter of the Beta prior; 1 if absent", default=None, above=0)

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        if self.biases is None:
            if self.weights is not None:
                yield "weights", "belong to given coins; give biases too, or leave them out"
            return
        if not self.biases:
            yield "biases", "needs at least one coin"
        for key in ("alpha", "beta"):
            if getattr(self, key) is not None:
                yield key, "belongs to a Beta prior; leave it out where biases are given"
        yield from weight_problems(self.weights, len(self.biases), "biases")

    def prior(self) -> tuple[float, float]:
        """Return (alpha, beta) of the Beta prior."""
        return (1.0 if self.alpha is None else self.alpha, 1.0 if self.beta is None else self.beta)


def coins_facts(config: Coins) -> Facts:
    """Given coins are listed, others drawn; every reference exists."""
    if config.biases is None:
        return Facts(space=Categorical(2), topics=Drawn(), stationary=True)
    weights = normalised(config.weights, len(config.biases))
    return Facts(space=Categorical(2), topics=Listed(weights=weights), stationary=True)


SPECS = (
    SourceSpec(
        name="coins",
        summary="Biased coins: given ones, or drawn from a Beta prior.",
        config=Coins,
        build="iclkit_sources.coins.source:build",
        facts=coins_facts,
    ),
)
