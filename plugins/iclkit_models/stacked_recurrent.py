"""Recurrent layers with a leading member axis, step by step: what torch's do, for M members at once.

Weights and gates are named and ordered as torch's are. Shapes: M members, B sequences, T inputs, C hidden units.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import Module, Parameter, functional

from iclkit_models.stacked_layers import linear

_BLOCK = 32  # float32 numbers that a processor's vector instructions take at a time, at most


class StackedRecurrence(Module):
    """A layer of M recurrent networks: (M, B, T, in) -> (M, B, T, C) and nothing, where torch gives the last state."""

    weight_ih_l0: Parameter
    weight_hh_l0: Parameter
    bias_ih_l0: Parameter
    bias_hh_l0: Parameter

    def __init__(self, layer: nn.RNNBase, members: int):
        super().__init__()
        self.width, self.states = layer.hidden_size, 2 if isinstance(layer, nn.LSTM) else 1
        for name, value in layer.named_parameters():
            self.register_parameter(name, Parameter(value.detach().expand(members, *value.shape).clone()))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Run through the inputs from a zero state."""
        M, B = x.shape[:2]
        whole = _BLOCK // math.gcd(_BLOCK, self.width)
        rows = -(-B // whole) * whole  # so that a step's numbers fill blocks of memory: see `stacked_layers`
        inputs = linear(x, self.weight_ih_l0, self.bias_ih_l0)  # (M, B, T, gates C)
        steps = functional.pad(inputs.transpose(1, 2), (0, 0, 0, rows - B)).unbind(1)  # T of (M, rows, ..)
        state = (x.new_zeros(M, rows, self.width),) * self.states
        outputs = []
        for step in steps:
            state = self.move(step, state)
            outputs.append(state[0])
        return torch.stack(outputs, dim=2)[:, :B], None

    def move(self, given: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the next state."""
        raise NotImplementedError

    def recalled(self, h: Tensor) -> Tensor:
        """Return what the hidden state sends to the gates, (M, B, gates C)."""
        return linear(h[:, :, None], self.weight_hh_l0, self.bias_hh_l0)[:, :, 0]


class StackedLSTM(StackedRecurrence):
    """i, f, g, o = gates; c' = sigmoid(f) c + sigmoid(i) tanh(g); h' = sigmoid(o) tanh(c')."""

    def move(self, given: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return (h', c')."""
        h, c = state
        i, f, g, o = (given + self.recalled(h)).chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class StackedGRU(StackedRecurrence):
    """h' = (1 - z) tanh(n_x + r n_h) + z h, r and z sigmoids of their gates."""

    def move(self, given: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return (h',)."""
        (h,) = state
        (r, z, n), (r_h, z_h, n_h) = given.chunk(3, dim=-1), self.recalled(h).chunk(3, dim=-1)
        new = (n + (r + r_h).sigmoid() * n_h).tanh()
        return (torch.lerp(new, h, (z + z_h).sigmoid()),)


class StackedRNN(StackedRecurrence):
    """h' = tanh(gates)."""

    def move(self, given: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return (h',)."""
        return ((given + self.recalled(state[0])).tanh(),)


STACKED: dict[type[Module], Callable[..., Module]] = {nn.LSTM: StackedLSTM, nn.GRU: StackedGRU, nn.RNN: StackedRNN}
