"""GINC: its keys, what can be said of it without building it, and its entry. Light: neither torch nor numpy."""

from collections.abc import Iterator

from attrs import frozen

from iclkit.api import Categorical, Drawn, Facts, Listed, SourceSpec, option
from iclkit_sources.checks import Problem

PUBLISHED_TOPICS = 10
"""How many topics the published data set has: 1 .. 5 in-distribution, 6 .. 10 unseen."""
IN_DISTRIBUTION = 5


@frozen(kw_only=True)
class Ginc:
    """GINC, the generative in-context dataset (Xie et al., arXiv 2111.02080).

    A hidden state is an entity and a property, which move independently; the token is the entry of the memory matrix
    for both. Topics differ in how properties move and where documents start; they share the memory matrix and, unless
    `topic_entities`, how entities move. Token 0 is the delimiter: it fills the memory matrix's column of property 0.
    """

    entities: int = option("number of entities, E", default=10, at_least=1)
    properties: int = option("number of properties, P; property 0 shows the delimiter", default=10, at_least=2)
    symbols: int = option("vocabulary V, the delimiter among it", default=50, at_least=2)
    transition_temperature: float = option(
        "temperature of the weights of the permutations in a transition matrix", default=0.1, above=0
    )
    start_temperature: float = option("temperature of the first state's distribution", default=10.0, above=0)
    permutations: int = option("random permutations in a transition matrix", default=10, at_least=1)
    identity: float = option(
        "weight of the identity in the entity matrix; 0 makes entities fast", default=0.9, at_least=0, at_most=1
    )
    topic_entities: bool = option("give each topic an entity matrix of its own", default=False)
    world_seed: int = option("seed of what all topics share: memory matrix and entity matrix", default=0)
    random_data: bool = option(
        "documents are independent uniform tokens, the delimiter among them; prompts are unchanged", default=False
    )
    random_transitions: bool = option(
        "documents follow transition matrices with Dirichlet(1) rows, drawn per topic; prompts are unchanged",
        default=False,
    )
    published: bool = option(
        "the topics of the published data set: 1 .. 5 in-distribution, 6 .. 10 unseen", default=False
    )

    def problems(self) -> Iterator[Problem]:
        """Yield what single fields cannot know."""
        if self.random_data and self.random_transitions:
            yield "random_transitions", "does not go with random_data; choose one"
        if self.published and self.world_seed != 0:
            yield "world_seed", "does not go with published, whose seed is fixed; leave it out"
        if self.published and self.random_transitions:
            yield "random_transitions", "does not go with published; leave one out"

    @property
    def states(self) -> int:
        """How many hidden states there are, E P."""
        return self.entities * self.properties


def ginc_facts(config: Ginc) -> Facts:
    """Topics are drawn, or the ten published ones; the population of drawn ones is exact for random data only.

    The published topics have equal weights: `data.topics = 5` trains on the in-distribution ones, as published.
    """
    topics = Listed(weights=(1 / PUBLISHED_TOPICS,) * PUBLISHED_TOPICS) if config.published else Drawn()
    exact = config.published or config.random_data
    references = ("oracle", "mixture", "population") if exact else ("oracle", "mixture")
    return Facts(space=Categorical(config.symbols), topics=topics, references=references)


SPECS = (
    SourceSpec(
        name="ginc",
        summary="GINC: hidden entities and properties shown by a memory matrix; topics are property transitions.",
        config=Ginc,
        build="iclkit_sources.ginc.source:build",
        facts=ginc_facts,
    ),
)
