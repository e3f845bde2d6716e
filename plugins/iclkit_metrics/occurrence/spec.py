"""Loss on a class of tokens by how often the token has come."""

from attrs import frozen

from iclkit.api import Categorical, MetricSpec, Variable, option


@frozen(kw_only=True)
class Occurrence:
    """Which tokens, and how many occurrences are told apart."""

    tokens: tuple[int, ...] | None = option(
        "indices of the tokens; those the source names (the names of mr-name), else every token, if absent",
        default=None,
        at_least=0,
        sample=(3, 4),
    )
    most: int = option("occurrences that are told apart, later ones are left out", default=20, at_least=1)


SPEC = MetricSpec(
    name="occurrence",
    summary="Loss on the first, second, third ... occurrence of a token in its sequence.",
    config=Occurrence,
    build="iclkit_metrics.occurrence.metric:Occurrence",
    variables=(
        Variable(
            name="occurrence_loss",
            dims=("step", "split", "occurrence"),
            long_name="loss on a token that occurs for the n-th time",
        ),
        Variable(
            name="occurrence_floor",
            dims=("reference", "split", "occurrence"),
            long_name="loss of a reference on the same tokens",
        ),
        Variable(
            name="occurrence_share",
            dims=("split", "occurrence"),
            long_name="share of sequences in which a token occurs for the n-th time",
            units="1",
        ),
    ),
    applies=lambda facts: isinstance(facts.space, Categorical),
)
