"""The keys of violated topic structure, and what can be said of it without building it."""

from collections.abc import Iterator

from attrs import evolve, frozen

from iclkit.api import Categorical, Drawn, Facts, Listed, SourceComponent, SourceSpec, option
from iclkit_sources.checks import Problem
from iclkit_sources.machines.compilable import ALLOWED, is_machine

MACHINE_FIELDS = ("overlap", "uniform_mixing", "token_noise", "boundaries")
LISTED_FIELDS = ("overlap", "boundaries", "skew")


@frozen(kw_only=True)
class Violations:
    """A source whose topic structure is violated, by known amounts; every reference knows the violated law.

    Violations apply in the order of their keys, `overlap` first. Those of single topics (overlap, uniform_mixing,
    token_noise, boundaries) need hidden Markov models; the others take any source of categorical tokens.
    """

    source: SourceComponent = option("the source to violate")
    overlap: float = option(
        "a of (1 - a) T_k + a mean_j T_j: topics lose what sets them apart, first states too (listed topics)",
        default=0.0,
        at_least=0,
        at_most=1,
    )
    uniform_mixing: float = option(
        "a of (1 - a) A_k + a uniform, A_k being a topic's chain of hidden states", default=0.0, at_least=0, at_most=1
    )
    token_noise: float = option(
        "probability that a token is replaced by a uniform one", default=0.0, at_least=0, at_most=1
    )
    boundaries: float = option(
        "probability, before each token but the first, that the sequence is continued, unmarked, by a new one of a "
        "topic drawn by weight (listed topics)",
        default=0.0,
        at_least=0,
        at_most=1,
    )
    structureless: float = option(
        "fraction of sequences that are independent uniform tokens", default=0.0, at_least=0, at_most=1
    )
    duplicates: float = option(
        "fraction of sequences that repeat one of a lower number of their topic", default=0.0, at_least=0, below=1
    )
    skew: float = option("s of weights times k^-s, k = 1, 2, ... (listed topics)", default=0.0, at_least=0)
    shifted: SourceComponent | None = option(
        "the source of the fresh topics of the evaluation, violated by nothing else (drawn topics)", default=None
    )

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        facts, kind = self.source.facts, self.source.kind
        if not isinstance(facts.space, Categorical):
            yield "source", f"must be a source of categorical tokens; {kind} is not"
            return
        for name in MACHINE_FIELDS:
            if getattr(self, name) and not is_machine(self.source):
                yield name, f"is exact only for hidden Markov models, which {kind} is not; allowed: {ALLOWED}"
        for name in LISTED_FIELDS:
            if getattr(self, name) and not isinstance(facts.topics, Listed):
                yield name, f"needs listed topics; {kind} draws its topics"
        if self.duplicates and facts.sequences_limit is not None:
            yield "duplicates", f"would let evaluation repeat what was trained on: {kind} has finitely many sequences"
        if self.shifted is not None:
            yield from self._shift_problems(facts, self.shifted.facts)

    def _shift_problems(self, own: Facts, test: Facts) -> Iterator[Problem]:
        for name, facts in (("source", own), ("shifted", test)):
            if not isinstance(facts.topics, Drawn):
                kind = getattr(self, name).kind
                yield name, f"must draw its topics where the evaluation's are shifted; {kind} lists them"
        if test.space != own.space:
            yield "shifted", f"must have the source's tokens, {own.space}; has {test.space}"

    @property
    def touches_machines(self) -> bool:
        """Whether the law of single topics is changed."""
        return any(getattr(self, name) for name in MACHINE_FIELDS)

    def weights(self) -> tuple[float, ...]:
        """Return the weights of listed topics, summing to 1."""
        family = self.source.facts.topics
        assert isinstance(family, Listed)
        skewed = [weight * (k + 1) ** -self.skew for k, weight in enumerate(family.weights)]
        return tuple(weight / sum(skewed) for weight in skewed)


def violations_facts(config: Violations) -> Facts:
    """The source's own; no population where a drawn family has changed; the tighter limits under a shift."""
    facts = config.source.facts
    references = facts.references
    if isinstance(facts.topics, Listed):
        facts = evolve(facts, topics=Listed(weights=config.weights()))
    elif config.touches_machines:
        references = tuple(name for name in references if name != "population")
    if config.shifted is not None:
        references = tuple(name for name in references if name in config.shifted.facts.references)
    return evolve(facts, references=references)


SPECS = (
    SourceSpec(
        name="violations",
        summary="A source whose topic structure is violated by known amounts.",
        config=Violations,
        build="iclkit_sources.violations.build:build",
        facts=violations_facts,
    ),
)
