"""Violated topic structure: machines are rebuilt, other sources are wrapped, and every reference stays exact."""

from typing import Any

import torch

from iclkit.api import ConfigError, Listed, Problem
from iclkit_sources.machines.as_machines import listed_machines, machines_of
from iclkit_sources.machines.compilable import is_machine
from iclkit_sources.machines.drawn import DrawnMachines
from iclkit_sources.machines.listed import MachineSource
from iclkit_sources.machines.stack import Machines
from iclkit_sources.switching.change_points import ChangePoints
from iclkit_sources.violations import distortions
from iclkit_sources.violations.config import Violations
from iclkit_sources.violations.shifted import Shifted
from iclkit_sources.violations.unmarked import Unmarked
from iclkit_sources.violations.wrapped import Violated


def build(config: Violations) -> Any:
    """Build the source of a config; raises ConfigError where a violation has no meaning for the source's machines."""
    source, structureless = config.source.build(), config.structureless
    listed = isinstance(config.source.facts.topics, Listed)
    if is_machine(config.source) and (config.touches_machines or (listed and (structureless or config.skew))):
        source, structureless = _machine_source(config, source, listed)
    if structureless or config.duplicates or (config.skew and not isinstance(source, MachineSource | Unmarked)):
        source = Violated(config, source, structureless)
    return source if config.shifted is None else Shifted(config, source, config.shifted.build())


def _machine_source(config: Violations, source: Any, listed: bool) -> tuple[Any, float]:
    """Return the source of the violated machines, and the fraction of structureless sequences still to come."""
    if not listed:
        return DrawnMachines(lambda *of: _distorted(config, machines_of(source.topics(*of)))), config.structureless
    family = _distorted(config, listed_machines(config.source, source))
    weights = torch.tensor(config.weights(), dtype=torch.float64)
    if config.boundaries:
        return Unmarked(ChangePoints(pool=family, weights=weights, rate=config.boundaries)), config.structureless
    if config.structureless:
        family = distortions.structureless(family, config.structureless)
    return MachineSource(family, weights), 0.0


def _distorted(config: Violations, machines: Machines) -> Machines:
    kind = config.source.kind
    if config.overlap:
        changed = distortions.overlapped(machines, config.overlap)
        if changed is None:
            text = f"the topics of {kind} differ in their numbers of states; allowed: topics with equally many"
            raise ConfigError([Problem("source.overlap", text)])
        machines = changed
    if config.uniform_mixing:
        changed = distortions.loosened(machines, config.uniform_mixing)
        if changed is None:
            text = (
                f"is not defined for {kind}; allowed: machines of two states or more whose tokens depend only on the "
                "state that is left or only on the one that is entered"
            )
            raise ConfigError([Problem("source.uniform_mixing", text)])
        machines = changed
    return distortions.noisy(machines, config.token_noise) if config.token_noise else machines
