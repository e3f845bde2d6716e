"""Prefix matching and copying."""

from attrs import frozen

from iclkit.api import Categorical, MetricSpec, Variable, option

HEADS = ("step", "layer", "head")


@frozen(kw_only=True)
class InductionHeads:
    """Random repeated sequences, which no source makes: only attention that looks for repetition finds them."""

    block: int | None = option(
        "different tokens in the longest block that is repeated, others have half as many and more; by default as many "
        "as there are and as fit, at most 25",
        default=None,
        at_least=2,
        sample=25,
    )
    repeats: int = option("how often the block comes", default=2, at_least=2)
    sequences: int = option("random sequences", default=32, at_least=2)
    copying: bool = option("measure copying too, which runs the model once for every head", default=True)
    snapshots: int = option("snapshots to look at, at most; the last is one of them", default=20, at_least=1)


SPEC = MetricSpec(
    name="induction-heads",
    summary="Prefix matching and copying of every attention head on random repeated sequences.",
    config=InductionHeads,
    build="iclkit_metrics.induction_heads.metric:InductionHeads",
    variables=(
        Variable(
            name="prefix_matching",
            dims=HEADS,
            long_name="attention to the tokens that came after the present one before",
            units="1",
        ),
        Variable(name="prefix_matching_chance", dims=(), long_name="prefix matching of uniform attention", units="1"),
        Variable(
            name="copying",
            dims=HEADS,
            long_name="share of the logits that a head raises which is on tokens it attends to",
            units="1",
        ),
        Variable(name="copying_chance", dims=(), long_name="copying of a head that raises any token", units="1"),
    ),
    applies=lambda facts: isinstance(facts.space, Categorical),
)
