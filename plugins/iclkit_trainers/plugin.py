"""Hooks of the built-in trainers."""

from collections.abc import Iterator

from iclkit.api import TrainerSpec, hookimpl
from iclkit_trainers.configs import AccelerateConfig, LangevinConfig


@hookimpl
def iclkit_trainers() -> Iterator[TrainerSpec]:
    """Yield the trainers; gradient descent is the default."""
    yield TrainerSpec(
        name="accelerate",
        summary="AdamW, Adam, SGD or SGLD on one or several devices.",
        config=AccelerateConfig,
        build="iclkit_trainers.accelerate_trainer:AccelerateTrainer",
        default=True,
    )
    yield TrainerSpec(
        name="langevin",
        summary="Noisy gradient descent with the exact likelihood ratio of its path, for the path certificate.",
        config=LangevinConfig,
        build="iclkit_trainers.langevin_trainer:LangevinTrainer",
    )
