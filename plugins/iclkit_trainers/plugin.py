"""Hooks of the built-in trainers."""

from collections.abc import Iterator

from iclkit.api import TrainerSpec, hookimpl
from iclkit_trainers.configs import COSTLY, AccelerateConfig, LangevinConfig


def _accelerate_records(config: AccelerateConfig) -> tuple[str, ...]:
    """Return the columns of its history: the loss, what `optimizers.COLUMNS` names, and what `record` asks for."""
    norms = ("gradient_norm", "clipped_gradient_norm", "parameter_norm", "update_norm")
    return ("loss", "learning_rate", *norms, *(COSTLY[name] for name in config.record))


def _langevin_records(config: LangevinConfig) -> tuple[str, ...]:
    """Return the columns of its history: the loss, and what `langevin_trainer.COLUMNS` names."""
    path = ("step_kl", "step_noise", "path_kl", "path_noise")
    return ("loss", "learning_rate", "gradient_norm", "noise_scale", *path)


@hookimpl
def iclkit_trainers() -> Iterator[TrainerSpec]:
    """Yield the trainers; gradient descent is the default."""
    yield TrainerSpec(
        name="accelerate",
        summary="AdamW, Adam, SGD or SGLD on one or several devices.",
        config=AccelerateConfig,
        build="iclkit_trainers.accelerate_trainer:AccelerateTrainer",
        records=_accelerate_records,
        default=True,
    )
    yield TrainerSpec(
        name="langevin",
        summary="Noisy gradient descent with the exact likelihood ratio of its path, for the path certificate.",
        config=LangevinConfig,
        build="iclkit_trainers.langevin_trainer:LangevinTrainer",
        records=_langevin_records,
    )
