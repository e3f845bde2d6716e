"""Torch's optimizers, and what is recorded of their updates."""

import numpy as np
from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, Optimizer

from iclkit_trainers.configs import AccelerateConfig

COLUMNS: dict[str, type[np.floating]] = {
    "learning_rate": np.float64,
    "gradient_norm": np.float32,  # before clipping
    "clipped_gradient_norm": np.float32,
    "parameter_norm": np.float32,  # before the update
    "update_norm": np.float32,
}


def make_optimizer(config: AccelerateConfig, parameters: list[Parameter]) -> Optimizer:
    """Make torch's optimizer, fused; its learning rate is set at every step, sgld's noise is added after it."""
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "sgd":
        momentum, nesterov = config.momentum, config.nesterov
        return SGD(parameters, rate, momentum=momentum, weight_decay=decay, nesterov=nesterov, fused=True)
    if config.optimizer == "sgld":
        return SGD(parameters, rate, weight_decay=decay, fused=True)
    kind = AdamW if config.optimizer == "adamw" else Adam
    return kind(parameters, rate, betas=(config.beta1, config.beta2), weight_decay=decay, fused=True)


def last_step(config: AccelerateConfig, length: int) -> int:
    """Return the number of updates that the config's steps and tokens allow; `length` is T."""
    tokens = config.batch_size * length
    return config.steps if config.max_tokens is None else min(config.steps, config.max_tokens // tokens)
