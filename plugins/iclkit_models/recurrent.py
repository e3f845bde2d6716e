"""Stacks of recurrent layers (LSTM, GRU, plain with tanh), with torch's initialisation and a zero first state.

Shapes: B sequences, T inputs, C width.
"""

from collections.abc import Callable

from torch import Tensor, nn

from iclkit.api import Space
from iclkit_models.configs import RecurrentConfig
from iclkit_models.stacked_layers import stack
from iclkit_models.stacked_recurrent import STACKED
from iclkit_models.tokens import OneHot, Prediction, log_scale, predict, read_in, read_out


class Recurrent(nn.Module):
    """Predict the token after each input.

    `taps` names submodules whose outputs are (B, T, C): each layer's, after its norm if it has one.

    Parameters
    ----------
    layer : what makes a layer of an input width and a width.
    config : sizes and variants.
    space : what a token is.

    """

    def __init__(self, layer: Callable[..., nn.RNNBase], config: RecurrentConfig, space: Space):
        super().__init__()
        C, one_hot = config.width, OneHot(space)
        learned = config.embedding == "learned"
        self.read_in = read_in(space, C) if learned else one_hot
        widths = [C if learned else one_hot.width] + [C] * (config.layers - 1)
        self.drop_in = nn.Dropout(config.dropout if learned else 0.0)  # a token is not dropped by channels
        self.layers = nn.ModuleList(layer(width, C, batch_first=True) for width in widths)
        self.norms = nn.ModuleList(nn.LayerNorm(C) if config.norm == "layer" else nn.Identity() for _ in widths)
        self.drop = nn.Dropout(config.dropout)
        self.read_out = read_out(space, C)
        self.log_scale = log_scale(space, config.scale)
        self.taps = {f"layer_{i + 1}": f"norms.{i}" for i in range(config.layers)}

    def forward(self, inputs: Tensor) -> Prediction:
        """Map inputs, int64 (B, T) or float32 (B, T, D + 1), to float32 logits (B, T, V) or mean (B, T, D).

        With a learned scale, to the mean and the logarithm of the deviations, both (B, T, D).
        """
        x = self.drop_in(self.read_in(inputs))  # (B, T, C)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.drop(norm(layer(x)[0]))  # (B, T, C)
        return predict(self.read_out(x), self.log_scale)  # (B, T, V) or (B, T, D)


def lstm(config: RecurrentConfig, space: Space, context: int) -> Recurrent:
    """Return LSTM layers; the context is not used, inputs may have any length."""
    return Recurrent(nn.LSTM, config, space)


def gru(config: RecurrentConfig, space: Space, context: int) -> Recurrent:
    """Return GRU layers; the context is not used, inputs may have any length."""
    return Recurrent(nn.GRU, config, space)


def rnn(config: RecurrentConfig, space: Space, context: int) -> Recurrent:
    """Return plain layers, h_t = tanh(W x_t + U h_(t-1) + b); the context is not used, inputs may have any length."""
    return Recurrent(nn.RNN, config, space)


def stacked_lstm(config: RecurrentConfig, space: Space, context: int, members: int) -> Recurrent:
    """Return LSTM layers with a leading member axis, for cohorts."""
    return stack(Recurrent(nn.LSTM, config, space), members, STACKED)


def stacked_gru(config: RecurrentConfig, space: Space, context: int, members: int) -> Recurrent:
    """Return GRU layers with a leading member axis, for cohorts."""
    return stack(Recurrent(nn.GRU, config, space), members, STACKED)


def stacked_rnn(config: RecurrentConfig, space: Space, context: int, members: int) -> Recurrent:
    """Return plain layers with a leading member axis, for cohorts."""
    return stack(Recurrent(nn.RNN, config, space), members, STACKED)
