"""A diagonal linear recurrence with gates, in blocks like a transformer's; to be read from top to bottom.

- Each state channel is a running average h_t = (1 - z_t) h_(t-1) + z_t v_t, whose gate z_t in (0, 1) and value v_t
  depend on the input alone (minGRU, Feng et al. 2024, arXiv 2410.01201). It is bounded by the largest |v|, and linear
  in h, so that a scan computes all positions at once.
- Gates start so that the channels' memories, 1 / z, are spread evenly in the logarithm from 1 to 1024 inputs.
- What is read from the state is gated by the input, as the state-space models have it (Mamba).
- Norms stand before recurrence and MLP, and one before the read-out.

Shapes: B sequences, T inputs, C width, S state channels. A cohort has M members before the sequences, (M, B, T, C):
axes are counted from the last.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from iclkit.api import Space
from iclkit_models.configs import StateSpaceConfig
from iclkit_models.stacked_layers import stack
from iclkit_models.tokens import Prediction, log_scale, predict, read_in, read_out

_LONGEST_MEMORY = 1024.0  # inputs


def scan(decay: Tensor, drive: Tensor) -> Tensor:
    """Return h_t = decay_t h_(t-1) + drive_t with h_0 = 0: (B, T, S), twice, -> (B, T, S).

    Neighbouring steps are joined into one, decay and drive of which follow from theirs; the scan of those, half as
    long, is h at every second step, and one step more is h between. Exact up to rounding, with about 3 T products in
    log2 T rounds; no division and no logarithm, so that decays of 0 are fine.
    """
    T = drive.shape[-2]
    if T == 1:
        return drive
    if T % 2:
        return scan(functional.pad(decay, (0, 0, 0, 1)), functional.pad(drive, (0, 0, 0, 1)))[..., :T, :]
    odd_decay, even_decay = decay.unflatten(-2, (-1, 2)).unbind(-2)  # (B, T/2, S) each: steps 1, 3, .. and 2, 4, ..
    odd_drive, even_drive = drive.unflatten(-2, (-1, 2)).unbind(-2)
    even = scan(even_decay * odd_decay, torch.addcmul(even_drive, even_decay, odd_drive))  # h_2, h_4, ..
    before = functional.pad(even[..., :-1, :], (0, 0, 1, 0))  # h_0, h_2, ..
    odd = torch.addcmul(odd_drive, odd_decay, before)  # h_1, h_3, ..
    return torch.stack((odd, even), dim=-2).flatten(-3, -2)


class Recurrence(nn.Module):
    """Running averages of gated values: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: StateSpaceConfig):
        super().__init__()
        S = config.state * config.width
        self.values_gates_reads = nn.Linear(config.width, 3 * S)
        self.project = nn.Linear(S, config.width)
        memory = _LONGEST_MEMORY ** ((torch.arange(S) + 0.5) / S)  # (S,), above 1
        with torch.no_grad():
            self.values_gates_reads.bias[S : 2 * S] = -torch.log(memory - 1)  # the logit of 1 / memory

    def forward(self, x: Tensor) -> Tensor:
        """Average what came so far."""
        values, gates, reads = self.values_gates_reads(x).chunk(3, dim=-1)  # (B, T, S) each
        h = scan(torch.sigmoid(-gates), torch.sigmoid(gates) * values)  # (B, T, S)
        return self.project(h * functional.silu(reads))


class Block(nn.Module):
    """Recurrence and MLP, each added to what comes in: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: StateSpaceConfig):
        super().__init__()
        C, hidden = config.width, config.mlp * config.width
        self.recurrence_norm = nn.LayerNorm(C)
        self.recurrence = Recurrence(config)
        self.mlp = (
            nn.Sequential(nn.LayerNorm(C), nn.Linear(C, hidden), nn.GELU(), nn.Linear(hidden, C)) if hidden else None
        )
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions, then channels."""
        x = x + self.drop(self.recurrence(self.recurrence_norm(x)))
        return x if self.mlp is None else x + self.drop(self.mlp(x))


class StateSpace(nn.Module):
    """Predict the token after each input.

    `taps` names submodules whose outputs are the residual stream, (B, T, C): after the embedding, after each block,
    and before the read-out.

    Parameters
    ----------
    config : sizes and variants.
    space : what a token is.
    context : not used, inputs may have any length.

    """

    def __init__(self, config: StateSpaceConfig, space: Space, context: int):
        super().__init__()
        self.read_in = read_in(space, config.width)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.layers)))
        self.norm = nn.LayerNorm(config.width)
        self.read_out = read_out(space, config.width)
        self.log_scale = log_scale(space, config.scale)
        blocks = {f"layer_{i + 1}": f"blocks.{i}" for i in range(config.layers)}
        self.taps = {"embedding": "drop"} | blocks | {"final": "norm"}

    def forward(self, inputs: Tensor) -> Prediction:
        """Map inputs, int64 (B, T) or float32 (B, T, D + 1), to float32 logits (B, T, V) or mean (B, T, D).

        With a learned scale, to the mean and the logarithm of the deviations, both (B, T, D).
        """
        x = self.norm(self.blocks(self.drop(self.read_in(inputs))))  # (B, T, C)
        return predict(self.read_out(x), self.log_scale)  # (B, T, V) or (B, T, D)


def stacked(config: StateSpaceConfig, space: Space, context: int, members: int) -> StateSpace:
    """Return the model with a leading member axis, for cohorts."""
    return stack(StateSpace(config, space, context), members)
