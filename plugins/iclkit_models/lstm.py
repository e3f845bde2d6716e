"""A stack of LSTM layers, with torch's initialisation.

Shapes: B sequences, T inputs, C width.
"""

from torch import Tensor, nn

from iclkit.api import Space
from iclkit_models.configs import LSTMConfig
from iclkit_models.tokens import read_in, read_out


class LSTM(nn.Module):
    """Predict the token after each input.

    Parameters
    ----------
    config : sizes.
    space : what a token is.
    context : not used, inputs may have any length.

    """

    def __init__(self, config: LSTMConfig, space: Space, context: int):
        super().__init__()
        self.read_in = read_in(space, config.width)
        between = config.dropout if config.layers > 1 else 0.0  # torch warns of dropout between one layer
        self.layers = nn.LSTM(config.width, config.width, config.layers, batch_first=True, dropout=between)
        self.drop = nn.Dropout(config.dropout)
        self.read_out = read_out(space, config.width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs, int64 (B, T) or float32 (B, T, D + 1), to float32 logits (B, T, V) or mean (B, T, D)."""
        x = self.drop(self.read_in(inputs))  # (B, T, C)
        x, _ = self.layers(x)  # (B, T, C)
        return self.read_out(self.drop(x))  # (B, T, V) or (B, T, D)
