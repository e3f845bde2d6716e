"""The keys of a mixture of sources, and what can be said of it without building it."""

from collections.abc import Iterator

from attrs import frozen

from iclkit.api import Categorical, Drawn, Facts, Listed, SourceComponent, SourceSpec, option
from iclkit_sources.checks import Problem, map_problems, normalised, weight_problems


@frozen(kw_only=True)
class Mixture:
    """A mixture of sources: a sequence's component is drawn once and emits all of it (arXiv 2505.18373).

    The topics of listed components are listed, component by component, their weights multiplied. Where a component
    is drawn the whole family is: a topic's component is drawn by the weights, then the topic within it.
    """

    components: tuple[SourceComponent, ...] = option("the sources, each a table with a kind")
    weights: tuple[float, ...] | None = option(
        "weights of the components, of any sum; equal if absent", default=None, above=0
    )
    vocabularies: tuple[tuple[int, ...], ...] | None = option(
        "for each component the global token of each of its tokens; its own numbers if absent",
        default=None,
        at_least=0,
    )

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        if not self.components:
            yield "components", "needs at least one source"
            return
        yield from weight_problems(self.weights, len(self.components), "components")
        sizes = []
        for index, component in enumerate(self.components):
            space = component.facts.space
            if not isinstance(space, Categorical):
                yield f"components[{index}]", f"must be a source of categorical tokens; {component.kind} is not"
                return
            sizes.append(space.size)
        yield from map_problems(self.vocabularies, sizes)

    def component_weights(self) -> tuple[float, ...]:
        """Return the components' weights, summing to 1."""
        return normalised(self.weights, len(self.components))

    def maps(self) -> tuple[tuple[int, ...], ...]:
        """Return for each component the global token of each of its tokens."""
        if self.vocabularies is not None:
            return self.vocabularies
        spaces = [component.facts.space for component in self.components]
        return tuple(tuple(range(space.size)) for space in spaces if isinstance(space, Categorical))

    def size(self) -> int:
        """Return the number of global tokens."""
        return 1 + max(max(vocabulary) for vocabulary in self.maps())


def mixture_facts(config: Mixture) -> Facts:
    """Listed if every component is; a reference exists if every component has it; the tightest limits hold."""
    facts = [component.facts for component in config.components]
    topics: Listed | Drawn = Drawn()
    if all(isinstance(part.topics, Listed) for part in facts):
        pairs = zip(config.component_weights(), facts, strict=True)
        topics = Listed(
            weights=tuple(
                weight * own for weight, part in pairs if isinstance(part.topics, Listed) for own in part.topics.weights
            )
        )
    names = [name for name in ("oracle", "mixture", "population") if all(name in part.references for part in facts)]
    sequences = [part.sequences_limit for part in facts if part.sequences_limit is not None]
    lengths = [part.length_limit for part in facts if part.length_limit is not None]
    return Facts(
        space=Categorical(config.size()),
        topics=topics,
        references=tuple(names),
        sequences_limit=min(sequences, default=None),
        length_limit=min(lengths, default=None),
        stationary=all(part.stationary for part in facts),
    )


SPECS = (
    SourceSpec(
        name="mixture",
        summary="A mixture of sources, each with its own weight and vocabulary map; may be nested.",
        config=Mixture,
        build="iclkit_sources.mixtures.compiled:build",
        facts=mixture_facts,
    ),
)
