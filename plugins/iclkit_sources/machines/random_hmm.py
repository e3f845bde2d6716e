"""Random hidden Markov models: Dirichlet rows of transitions and of emissions."""

import torch
from torch import Tensor

from iclkit.api import Key
from iclkit_sources.dirichlet import draw_log_dirichlet
from iclkit_sources.machines.drawn import DrawnMachines
from iclkit_sources.machines.random_config import RandomHmm
from iclkit_sources.machines.stack import Machines
from iclkit_sources.machines.stationary import stationary


def build(config: RandomHmm) -> DrawnMachines:
    """Build the source of a config."""

    def draw(numbers: Tensor, key: Key) -> Machines:
        moves = _rows(config.states, config.states, config.transitions, key.fold("transitions"))  # (K, S, S)
        shown = _rows(config.states, config.vocabulary, config.emissions, key.fold("emissions"))  # (K, S, V)
        return Machines(
            transitions=shown.transpose(1, 2)[..., None] * moves[:, None], start=stationary(moves), numbers=numbers
        )

    return DrawnMachines(draw)


def _rows(rows: int, columns: int, concentration: float, key: Key) -> Tensor:
    return draw_log_dirichlet(torch.full((columns,), concentration, dtype=torch.float64), rows, key).exp()
