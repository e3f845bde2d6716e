"""All that a training needs to continue bit for bit, as one flat dict of CPU tensors.

Names: "module.<name>", "optimizer.<parameter number>.<name>", "scaler.<name>", "history.<name>", and what a
trainer adds.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from iclkit_trainers.history import History

Scaler = Any  # torch.amp.GradScaler, of which there are several classes, or None


def weights(module: Module) -> dict[str, Tensor]:
    """Return the module's parameters and buffers as contiguous CPU copies."""
    return {name: _copy(value) for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def pack(module: Module, history: History, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state; `own` is what a trainer adds to it."""
    state = {f"module.{name}": value for name, value in weights(module).items()}
    state |= {f"history.{name}": torch.from_numpy(array) for name, array in history.arrays().items()}
    return state | {name: _copy(value) for name, value in own.items()}


def unpack(state: Mapping[str, Tensor], module: Module, history: History) -> None:
    """Put a state back, but for what the trainer added."""
    module.load_state_dict(below(state, "module"))
    history.load({name: value.numpy() for name, value in below(state, "history").items()})


def pack_optimizer(optimizer: Optimizer, scaler: Scaler) -> dict[str, Tensor]:
    """Return the optimizer's moments and the scaler's numbers."""
    state = {}
    for number, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            if isinstance(value, Tensor):
                state[f"optimizer.{number}.{name}"] = value
    if scaler is not None:
        for name, number in scaler.state_dict().items():
            state[f"scaler.{name}"] = torch.tensor(number, dtype=torch.float64)
    return state


def unpack_optimizer(state: Mapping[str, Tensor], optimizer: Optimizer, scaler: Scaler) -> None:
    """Put the optimizer's moments and the scaler's numbers back."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in below(state, "optimizer").items():
        number, _, key = name.partition(".")
        moments.setdefault(int(number), {})[key] = value.clone()
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    if scaler is not None:
        now = scaler.state_dict()
        saved = below(state, "scaler")
        scaler.load_state_dict({name: type(now[name])(value.item()) for name, value in saved.items()})


def below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the part of a state whose names begin with a prefix, without it."""
    start = prefix + "."
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


def _copy(value: Tensor) -> Tensor:
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)
