"""The keys of the repeated-block source, and what can be said of it without building it."""

from collections.abc import Iterator

from attrs import frozen

from iclkit.api import Categorical, Facts, Listed, SourceSpec, option
from iclkit_sources.checks import Problem


@frozen(kw_only=True)
class Induction:
    """A random block of tokens, repeated until the sequence ends.

    The block's length is drawn for each sequence, every length from shortest to longest being equally likely. With
    shortest = longest the token to copy always stands equally far back: a shortcut that a model can take by position
    alone, without an induction head.
    """

    tokens: int = option("V, how many tokens there are", default=16, at_least=2)
    shortest: int = option("shortest block, tokens", default=8, at_least=1)
    longest: int = option("longest block, tokens; equal to shortest it allows a positional shortcut", default=24)

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        if self.longest < self.shortest:
            yield "longest", f"must be at least shortest = {self.shortest}, not {self.longest}"


def induction_facts(config: Induction) -> Facts:
    """One listed topic: what differs from sequence to sequence, the block and its length, is latent."""
    return Facts(space=Categorical(config.tokens), topics=Listed(weights=(1.0,)))


SPECS = (
    SourceSpec(
        name="induction",
        summary="A random block of random length, repeated: what induction heads are for.",
        config=Induction,
        build="iclkit_sources.induction.source:build",
        facts=induction_facts,
    ),
)
