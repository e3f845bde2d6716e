"""The keys of sources that change topic inside a sequence, and what can be said of them without building them."""

from collections.abc import Iterator

from attrs import frozen

from iclkit.api import Categorical, Facts, Listed, SourceComponent, SourceSpec, option
from iclkit_sources.checks import Problem
from iclkit_sources.machines.compilable import ALLOWED, is_machine


@frozen(kw_only=True)
class Switching:
    """A source that changes topic inside a sequence.

    The first token begins a sequence of a topic drawn by the topics' weights. Before every further token, with
    probability `rate`, a topic is drawn anew (it may be the same) and a new sequence of it begins. The topics are those
    that the source lists, or a fixed pool of `topics` many that it draws. The switching source itself has one topic:
    the whole of this law.
    """

    source: SourceComponent = option("the source whose topics take turns; its topics are hidden Markov models")
    rate: float = option("probability of a new topic before each token", default=0.02, at_least=0, at_most=1)
    topics: int | None = option(
        "how many of the source's topics take part; all that it lists if absent, needed where it draws them",
        default=None,
        at_least=1,
    )

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        if not is_machine(self.source):
            yield "source", f"{self.source.kind} has no exact change-point filter here; allowed: {ALLOWED}"
            return
        family = self.source.facts.topics
        if isinstance(family, Listed):
            if self.topics is not None and self.topics > len(family.weights):
                yield "topics", f"{self.topics} is more than the {len(family.weights)} that {self.source.kind} lists"
        elif self.topics is None:
            yield "topics", f"is needed: {self.source.kind} draws its topics; give how many take part"

    def weights(self) -> tuple[float, ...]:
        """Return the weights of the topics that take part, summing to 1."""
        family = self.source.facts.topics
        if not isinstance(family, Listed):
            count = self.topics or 1
            return (1 / count,) * count
        own = family.weights[: self.topics]
        return tuple(weight / sum(own) for weight in own)


def switching_facts(config: Switching) -> Facts:
    """One listed topic over the source's tokens; every reference is the change-point filter."""
    space = config.source.facts.space
    assert isinstance(space, Categorical)
    return Facts(space=space, topics=Listed(weights=(1.0,)))


SPECS = (
    SourceSpec(
        name="switching",
        summary="A source whose topic changes inside a sequence, at a known rate.",
        config=Switching,
        build="iclkit_sources.switching.source:build",
        facts=switching_facts,
    ),
)
