"""Hooks of the built-in trainers."""

from collections.abc import Iterator

from iclkit.api import TrainerSpec, hookimpl
from iclkit_trainers.configs import AccelerateConfig


@hookimpl
def iclkit_trainers() -> Iterator[TrainerSpec]:
    """Yield the trainer, which is the default."""
    yield TrainerSpec(
        name="accelerate",
        summary="AdamW, Adam or SGD on one or several devices.",
        config=AccelerateConfig,
        build="iclkit_trainers.accelerate_trainer:AccelerateTrainer",
        default=True,
    )
