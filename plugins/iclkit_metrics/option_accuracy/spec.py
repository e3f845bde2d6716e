"""Few-shot accuracy on tasks with options, and what it depends on."""

from collections.abc import Iterator

from attrs import frozen

from iclkit.api import Categorical, MetricSpec, Variable, option

ACCURACY = ("step", "tasks", "shots")
QUESTIONS = ("tasks", "shots")


@frozen(kw_only=True)
class OptionAccuracy:
    """Questions of a source that asks them: demonstrations of a task, an input, and options of any length."""

    shots: tuple[int, ...] = option("numbers of demonstrations", default=(0, 1, 2, 4, 8), at_least=0)
    unseen: tuple[int, ...] | None = option(
        "tasks, by number, that count as unseen; all that are not trained on if absent", default=None, at_least=1
    )
    questions: int = option("questions of each kind", default=256, at_least=2)
    snapshots: int = option("snapshots to look at, at most; the last is one of them", default=10, at_least=1)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        for key in ("shots", "unseen"):
            values = getattr(self, key)
            if values is not None and not values:
                yield key, "needs at least one entry"
            elif values is not None and len(set(values)) < len(values):
                yield key, "names one entry twice"


SPEC = MetricSpec(
    name="option-accuracy",
    summary="Few-shot accuracy on tasks with options, those trained on and unseen ones: the least mean loss wins.",
    config=OptionAccuracy,
    build="iclkit_metrics.option_accuracy.metric:OptionAccuracy",
    variables=(
        Variable(
            name="option_accuracy",
            dims=ACCURACY,
            long_name="share of questions whose label has the least mean loss of the options",
            units="1",
        ),
        Variable(
            name="option_accuracy_low", dims=ACCURACY, long_name="low end of its 95 % interval (Wilson)", units="1"
        ),
        Variable(
            name="option_accuracy_high", dims=ACCURACY, long_name="high end of its 95 % interval (Wilson)", units="1"
        ),
        Variable(name="option_chance", dims=QUESTIONS, long_name="accuracy of a guess among the options", units="1"),
        Variable(
            name="option_too_long",
            dims=QUESTIONS,
            long_name="share of questions longer than the evaluation's length; they are left out",
            units="1",
        ),
    ),
    applies=lambda facts: isinstance(facts.space, Categorical),
)
