"""Few-shot accuracy, its references, and what it depends on."""

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from iclkit.api import Categorical, MetricSpec, Variable, option

ACCURACY = ("step", "example_length", "shots")
PROMPTS = ("example_length", "shots")
READERS = ("reader", "example_length", "shots")


@frozen(kw_only=True)
class IclAccuracy:
    """Prompts of a source that makes them; topics and the process of their examples are chosen separately.

    A prompt of n examples of L tokens and its answer take (L + 1) n + L positions, which must not be more than the
    evaluation's length.
    """

    shots: tuple[int, ...] | None = option(
        "numbers of examples; 0 and the powers of 2 that fit if absent", default=None, at_least=0, sample=[0, 1, 4, 16]
    )
    lengths: tuple[int, ...] = option("lengths of an example, its answer counted, tokens", default=(3, 5), at_least=2)
    topics: Literal["known", "fresh"] | tuple[int, ...] = option(
        "topics of the prompts: the K known ones, fresh ones, or topic numbers", default="known", at_least=1
    )
    fresh: int = option("how many fresh topics prompts are drawn from", default=20, at_least=1)
    examples: Literal["in-distribution", "out-of-distribution"] = option(
        "process that makes the examples", default="in-distribution"
    )
    prompts: int = option("prompts of each kind", default=256, at_least=2)
    permutations: int = option("orders of the examples that are tried for the order sensitivity", default=2, at_least=0)
    leak: float = option("probability of a leak of the leaky reader", default=1e-3, above=0, below=1)
    snapshots: int = option("snapshots to look at, at most; the last is one of them", default=10, at_least=1)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        for key in ("shots", "lengths", "topics"):
            values = getattr(self, key)
            if isinstance(values, tuple) and not values:
                yield key, "needs at least one entry"
            elif isinstance(values, tuple) and len(set(values)) < len(values):
                yield key, "names one entry twice"


SPEC = MetricSpec(
    name="icl-accuracy",
    summary="Few-shot accuracy by shots and example length, beside exact readers of the same prompts.",
    config=IclAccuracy,
    build="iclkit_metrics.icl_accuracy.metric:IclAccuracy",
    variables=(
        Variable(name="icl_accuracy", dims=ACCURACY, long_name="share of prompts whose label is likeliest", units="1"),
        Variable(name="icl_accuracy_low", dims=ACCURACY, long_name="low end of its 95 % interval (Wilson)", units="1"),
        Variable(
            name="icl_accuracy_high", dims=ACCURACY, long_name="high end of its 95 % interval (Wilson)", units="1"
        ),
        Variable(name="reader_accuracy", dims=READERS, long_name="accuracy of a reader that is not trained", units="1"),
        Variable(
            name="reader_impossible", dims=READERS, long_name="share of prompts that a reader rules out", units="1"
        ),
        Variable(
            name="icl_impossible",
            dims=PROMPTS,
            long_name="share of prompts whose own topic rules the test input out; they are left out",
            units="1",
        ),
        Variable(
            name="icl_order_sensitivity",
            dims=PROMPTS,
            long_name="share of answers that turn right or wrong when the examples change places, last step",
            units="1",
        ),
        Variable(name="icl_seconds", dims=PROMPTS, long_name="time of the model per prompt, last step", units="s"),
    ),
    applies=lambda facts: isinstance(facts.space, Categorical),
)
