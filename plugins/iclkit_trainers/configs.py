"""What can be said to a trainer in a config; nothing heavy is imported here."""

from collections.abc import Iterator
from typing import Literal

from iclkit.api import frozen, option


@frozen(kw_only=True)
class AccelerateConfig:
    """Gradient descent on the mean loss of one batch per step."""

    steps: int = option("updates", default=1000, at_least=0)
    batch_size: int = option("sequences per update, over all processes", default=64, at_least=1)
    learning_rate: float = option("learning rate, the largest of the schedule", default=1e-3, above=0, stackable=True)
    optimizer: Literal["adamw", "adam", "sgd"] = option("how gradients become updates", default="adamw")
    weight_decay: float = option(
        "weight decay of all parameters; decoupled for adamw, an L2 penalty for adam and sgd",
        default=0.0,
        at_least=0,
        stackable=True,
    )
    beta1: float = option("decay of Adam's mean of gradients", default=0.9, at_least=0, below=1)
    beta2: float = option("decay of Adam's mean of squared gradients", default=0.999, at_least=0, below=1)
    momentum: float = option("momentum of sgd", default=0.0, at_least=0, below=1)
    schedule: Literal["constant", "linear", "cosine"] = option(
        "the learning rate after warm-up; linear and cosine end at 0", default="constant"
    )
    warmup: int = option("steps in which the learning rate rises linearly", default=0, at_least=0)
    clip: float | None = option("largest norm of the gradient; none if absent", default=None, above=0)
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

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        if self.warmup > self.steps:
            yield "warmup", f"{self.warmup} is past steps = {self.steps}; allowed: 0 to {self.steps}"
        if isinstance(self.snapshots, tuple):
            for step in self.snapshots:
                if step > self.steps:
                    yield "snapshots", f"{step} is past steps = {self.steps}; allowed: 0 to {self.steps}"
