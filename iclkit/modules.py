"""The model of a cell, with its initial weights, and models with a leading member axis for cohorts."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import Module, Parameter

from iclkit.config import Config
from iclkit.errors import ConfigError, Problem
from iclkit.keys import Key
from iclkit.specs import resolve


def build_module(config: Config) -> Module:
    """Build the model of a cell with its initial weights, which depend on `seeds.model` alone."""
    torch.manual_seed(int(Key.root(config.seeds.model).fold("weights").bits()) & (1 << 62) - 1)
    return config.model.build(config.source.facts.space, config.context)


def stack_modules(config: Config, modules: Sequence[Module]) -> Module:
    """Build a module with a leading member axis whose members have the weights of these modules, on their device.

    It is the model's own `stacked` one; without one, the model is mapped over its weights by torch.func.vmap. Raises
    ConfigError, here or when it is called, where something in it can be neither stacked nor mapped.
    """
    build = config.model.spec.stacked
    if build is None:
        return _Mapped(config.model.kind, modules)
    try:
        stacked = resolve(build)(config.model.config, config.source.facts.space, config.context, len(modules))
    except NotImplementedError as error:
        raise _refused(config.model.kind, str(error)) from None
    stacked.to(next(modules[0].parameters()).device)
    with torch.no_grad():
        for name, value in stacked.state_dict().items():
            members = [module.state_dict()[name] for module in modules]
            value.copy_(torch.stack(members).view_as(value))
    return stacked


class _Mapped(Module):
    """Modules of one shape as one: (M, B, T) or (M, B, T, D) -> (M, B, T, V), each member with its own weights."""

    def __init__(self, kind: str, modules: Sequence[Module]):
        super().__init__()
        self._kind = kind
        self._skeleton = (deepcopy(modules[0]),)  # in a tuple: its weights are none of this module's
        named = [dict(module.named_parameters()) for module in modules]
        for name in named[0]:
            values = torch.stack([one[name].detach() for one in named])
            _register(self, name, Parameter(values, requires_grad=named[0][name].requires_grad))
        buffers = [dict(module.named_buffers()) for module in modules]
        self._buffers_of_members = {name: torch.stack([one[name] for one in buffers]) for name in buffers[0]}

    def forward(self, inputs: Tensor) -> Any:
        """Run every member on its own inputs."""
        weights = dict(self.named_parameters()) | self._buffers_of_members
        try:
            return vmap(lambda own, given: functional_call(self._skeleton[0], own, (given,)))(weights, inputs)
        except RuntimeError as error:
            if "vmap" in str(error) or "batching rule" in str(error):
                raise _refused(self._kind, " ".join(str(error).split())) from error
            raise


def _refused(kind: str, reason: str) -> ConfigError:
    text = f"{kind} cannot be mapped over members ({reason}); allowed for this model: false"
    return ConfigError([Problem("trainer.stack", text)])


def _register(module: Module, name: str, parameter: Parameter) -> None:
    """Put a parameter where its name, with dots, says."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(module, part):
            module.add_module(part, Module())
        module = module.get_submodule(part)
    module.register_parameter(last, parameter)
