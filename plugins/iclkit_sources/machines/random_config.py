"""The keys of random hidden Markov models, and what can be said of them without building them."""

from attrs import frozen

from iclkit.api import Categorical, Drawn, Facts, SourceSpec, option


@frozen(kw_only=True)
class RandomHmm:
    """Hidden Markov models drawn at random: every row of transitions and of emissions is Dirichlet.

    A topic's state emits a token, then moves; the first state has the topic's stationary distribution.
    """

    states: int = option("number of hidden states", default=3, at_least=1)
    vocabulary: int = option("number of tokens", default=4, at_least=1)
    transitions: float = option("concentration of each row of transitions; small: nearly fixed", default=1.0, above=0)
    emissions: float = option("concentration of each row of emissions; small: nearly one token", default=1.0, above=0)


def random_hmm_facts(config: RandomHmm) -> Facts:
    """Drawn topics; no closed form of the population."""
    return Facts(
        space=Categorical(config.vocabulary), topics=Drawn(), references=("oracle", "mixture"), stationary=True
    )


SPECS = (
    SourceSpec(
        name="random-hmm",
        summary="Hidden Markov models whose rows are drawn from Dirichlet laws.",
        config=RandomHmm,
        build="iclkit_sources.machines.random_hmm:build",
        facts=random_hmm_facts,
    ),
)
