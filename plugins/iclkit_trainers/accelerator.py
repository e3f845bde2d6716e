"""The one Accelerator of a training. It places, wraps, casts and differentiates; nothing else of it is used."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import GradientAccumulationPlugin
from torch.nn import Module

from iclkit.api import ConfigError, Problem

log = logging.getLogger(__name__)

Precision = Literal["float32", "bf16", "fp16"]


@contextmanager
def fresh_accelerator(precision: Precision) -> Iterator[Accelerator]:
    """Make an Accelerator of this precision, and leave accelerate's state as it was found.

    Its state is one per process, and a second precision would raise; so one training at a time per process.
    Raises ValueError where the device lacks the precision, RuntimeError where the processes are not all seen.
    """
    states = (AcceleratorState, PartialState, GradientState)
    found = [dict(state._shared_state) for state in states]
    threads = torch.get_num_threads()
    _replace(states, [{} for _ in states])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the thread count, which it sets and which is put back below
            accelerator = Accelerator(
                cpu=not torch.accelerator.is_available(),  # else it sees one process where torchrun started two
                mixed_precision="no" if precision == "float32" else precision,
                gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # not the environment's
            )
        torch.set_num_threads(threads)
        asked = int(os.environ.get("WORLD_SIZE", "1"))
        if accelerator.num_processes != asked:
            raise RuntimeError(f"{asked} processes were started, accelerate sees {accelerator.num_processes}")
        if precision == "bf16" and accelerator.device.type == "cpu" and not _native_bf16():
            log.warning("this CPU has no bf16 instructions: expect training to be about ten times slower")
        yield accelerator
    finally:
        _replace(states, found)


def _replace(states: tuple[type, ...], contents: list[dict]) -> None:
    for state, content in zip(states, contents, strict=True):
        state._shared_state.clear()  # type: ignore[attr-defined]  # in place: see accelerate.state.PartialState
        state._shared_state.update(content)  # type: ignore[attr-defined]


def _native_bf16() -> bool:
    known = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return not any(known) or any(ask() for ask in known if ask)


def without_autocast(module: Module) -> None:
    """Give a module back the forward that accelerate wrapped."""
    original = vars(module).pop("_original_forward", None)
    if original is not None:
        module.forward = original


def rows(batch_size: int, rank: int, processes: int) -> slice:
    """Return the rows of the global batch that one process computes.

    Raises ConfigError where the batch cannot be split evenly.
    """
    if batch_size % processes:
        text = f"{batch_size} cannot be split evenly over {processes} processes; allowed: a multiple of {processes}"
        raise ConfigError([Problem("trainer.batch_size", text)])
    each = batch_size // processes
    return slice(rank * each, (rank + 1) * each)
