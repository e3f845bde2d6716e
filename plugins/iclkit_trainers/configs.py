"""What can be said to a trainer in a config; nothing heavy is imported here."""

from collections.abc import Iterator
from typing import Literal

from iclkit.api import frozen, option

COSTLY = {"discrepancy": "discrepancy", "sequence-gradient": "sequence_gradient_norm"}
"""The columns of the history that `record` asks for, by its words."""


@frozen(kw_only=True)
class AccelerateConfig:
    """Gradient descent on the mean loss of one batch per step."""

    steps: int = option("updates", default=1000, at_least=0)
    batch_size: int = option("sequences per update, over all processes", default=64, at_least=1)
    learning_rate: float = option("learning rate, the largest of the schedule", default=1e-3, above=0, stackable=True)
    optimizer: Literal["adamw", "adam", "sgd", "sgld"] = option(
        "how gradients become updates; sgld is sgd with Gaussian noise added to every update",
        default="adamw",
        stackable=True,
    )
    weight_decay: float = option(
        "weight decay of all parameters; decoupled for adamw, an L2 penalty for the others",
        default=0.0,
        at_least=0,
        stackable=True,
    )
    beta1: float = option("decay of Adam's mean of gradients", default=0.9, at_least=0, below=1, stackable=True)
    beta2: float = option(
        "decay of Adam's mean of squared gradients", default=0.999, at_least=0, below=1, stackable=True
    )
    momentum: float = option("momentum of sgd", default=0.0, at_least=0, below=1, stackable=True)
    nesterov: bool = option("whether sgd looks ahead with its momentum (Nesterov)", default=False, stackable=True)
    beta: float | None = option(
        "inverse temperature of sgld's noise, sqrt(2 learning_rate / beta) N(0, I), in 1 / nat; sgld needs it",
        default=None,
        above=0,
    )
    schedule: Literal["constant", "linear", "cosine", "plateau"] = option(
        "the learning rate after warm-up; linear and cosine end at 0, plateau falls where the loss no longer does",
        default="constant",
        stackable=True,
    )
    plateau_steps: int = option(
        "plateau compares the mean training loss of so many steps with the best mean before", default=100, at_least=1
    )
    plateau_factor: float = option(
        "by what plateau multiplies the learning rate where the mean is no better", default=0.5, above=0, below=1
    )
    plateau_tolerance: float = option("by how much a mean has to be lower to be better, nats", default=1e-3, at_least=0)
    warmup: int = option("steps in which the learning rate rises linearly", default=0, at_least=0, stackable=True)
    clip: float | None = option("largest norm of the gradient; none if absent", default=None, above=0, stackable=True)
    accumulate: int = option(
        "pieces in which the batch is worked through, so that less of it is in memory; the update is the same but for "
        "rounding",
        default=1,
        at_least=1,
    )
    max_tokens: int | None = option(
        "tokens after which training ends before `steps`, repeats counted; the schedule is still that of `steps`",
        default=None,
        at_least=0,
    )
    max_seconds: float | None = option(
        "seconds after which training ends before `steps`, earlier sessions counted; where it ends is not reproducible",
        default=None,
        above=0,
    )
    precision: Literal["float32", "bf16", "fp16"] = option(
        "number format of matrix products; weights are always float32", default="float32"
    )
    snapshots: int | tuple[int, ...] = option(
        "about so many: 0, a geometric grid that does not depend on steps, and the last; or a list of steps",
        default=20,
        at_least=0,
    )
    resolution: int = option(
        "the loss by position is recorded at every step below twice this, then so often per doubling of the step",
        default=256,
        at_least=1,
    )
    record: tuple[Literal["discrepancy", "sequence-gradient"], ...] = option(
        "costly records, made when the loss is: discrepancy is |g_S - g_J|^2 between the gradients on all training "
        "sequences S and on the subset J, sequence-gradient the largest norm of one sequence's gradient in the batch",
        default=(),
    )
    record_sequences: int = option(
        "discrepancy takes S and J whole up to so many sequences, and a batch of batch_size above",
        default=1024,
        at_least=0,
    )
    subset_topics: int | None = option(
        "K', topics of the subset J; where this and subset_sequences are absent, J is what [prior] is trained on",
        default=None,
        at_least=1,
    )
    subset_sequences: int | None = option(
        "N', sequences per topic of the subset J; all if absent", default=None, at_least=1
    )
    stack: bool = option(
        "run trainings of one shape as one tensor program, a cohort; they may differ in seeds, source, topics and "
        "sequences, and in what says how gradients become updates",
        default=False,
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        yield from _past_the_end(self)
        if self.stack:
            yield from self._not_stacked()
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            yield "nesterov", 'needs optimizer = "sgd" and momentum above 0'
        if self.optimizer == "sgld" and self.beta is None:
            yield (
                "beta",
                "sgld needs it: the inverse temperature of its noise, for example 10 x parameters",
            )
        if self.optimizer != "sgld" and self.beta is not None:
            yield "beta", f'{self.optimizer} adds no noise; allowed with optimizer = "sgld" only'
        if self.batch_size % self.accumulate:
            yield "accumulate", f"batch_size = {self.batch_size} cannot be cut into {self.accumulate} equal pieces"
        if self.record and self.precision == "fp16":
            yield "record", 'gradients of fp16 are not to be compared; allowed: precision = "float32" or "bf16"'

    def _not_stacked(self) -> Iterator[tuple[str, str]]:
        """Yield what trainings that run as one tensor program cannot do."""
        asked = {
            "optimizer": self.optimizer == "sgld",
            "schedule": self.schedule == "plateau",
            "accumulate": self.accumulate > 1,
            "max_seconds": self.max_seconds is not None,
            "precision": self.precision != "float32",
            "record": bool(self.record),
        }
        for name in (name for name, true in asked.items() if true):
            value = getattr(self, name)
            said = f'"{value}"' if isinstance(value, str) else list(value) if isinstance(value, tuple) else value
            yield name, f"{said} is for trainings that run one by one; with stack = true leave it out"


@frozen(kw_only=True)
class LangevinConfig:
    """Noisy gradient descent: theta - eta (g_S + weight_decay theta) + sqrt(2 eta / beta) N(0, I).

    With it goes the exact logarithm of how much likelier the path is than under the same noisy descent on a subset J
    of the data: the KL divergence that a certificate pays for the rest.
    """

    steps: int = option("updates", default=100, at_least=0)
    learning_rate: float = option("eta, the largest of the schedule", default=1e-2, above=0)
    beta: float = option("inverse temperature of the noise, 1 / nat; about 10 x parameters", default=1e6, above=0)
    batch_size: int | Literal["full"] = option(
        '"full" for the gradient on all training sequences (finite data), or sequences per update, over all '
        "processes; data with no more than that are taken whole",
        default="full",
        at_least=1,
    )
    subset_topics: int | None = option(
        "K', topics of the subset J; where this and subset_sequences are absent, J is what [prior] is trained on, or "
        "all data without one",
        default=None,
        at_least=1,
    )
    subset_sequences: int | None = option(
        "N', sequences per topic of the subset J; all if absent", default=None, at_least=1
    )
    weight_decay: float = option("an L2 penalty, times half the squared norm of the weights", default=0.0, at_least=0)
    schedule: Literal["constant", "linear", "cosine"] = option(
        "the learning rate after warm-up; linear and cosine end at 0", default="constant"
    )
    warmup: int = option("steps in which the learning rate rises linearly", default=0, at_least=0)
    snapshots: int | tuple[int, ...] = option(
        "about so many: 0, a geometric grid that does not depend on steps, and the last; or a list of steps",
        default=20,
        at_least=0,
    )
    resolution: int = option(
        "records are made at every step below twice this, then so often per doubling of the step, and before snapshots",
        default=256,
        at_least=1,
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        yield from _past_the_end(self)


def _past_the_end(config: AccelerateConfig | LangevinConfig) -> Iterator[tuple[str, str]]:
    """Yield what is asked for at steps that never come."""
    if config.warmup > config.steps:
        yield "warmup", f"{config.warmup} is past steps = {config.steps}; allowed: 0 to {config.steps}"
    if isinstance(config.snapshots, tuple):
        for step in config.snapshots:
            if step > config.steps:
                yield "snapshots", f"{step} is past steps = {config.steps}; allowed: 0 to {config.steps}"
