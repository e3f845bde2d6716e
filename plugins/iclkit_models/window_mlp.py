"""An MLP over a window of the last inputs, with torch's initialisation.

Shapes: B sequences, T inputs, C width, n window. A cohort has M members before the sequences.
"""

from torch import Tensor, nn
from torch.nn import functional

from iclkit.api import Space
from iclkit_models.configs import MLPConfig
from iclkit_models.stacked_layers import stack
from iclkit_models.tokens import Prediction, log_scale, predict, read_in, read_out


class WindowMLP(nn.Module):
    """Predict the token after each input from the last n inputs; before the first stand zero vectors.

    `taps` names submodules whose outputs are (B, T, C): the embedding and each hidden layer.

    Parameters
    ----------
    config : sizes.
    space : what a token is.
    context : not used, inputs may have any length.

    """

    def __init__(self, config: MLPConfig, space: Space, context: int):
        super().__init__()
        C, self.window = config.width, config.window
        self.read_in = read_in(space, C)
        self.drop = nn.Dropout(config.dropout)
        widths = [self.window * C] + [C] * (config.layers - 1)
        self.layers = nn.Sequential(
            *(nn.Sequential(nn.Linear(width, C), nn.GELU(), nn.Dropout(config.dropout)) for width in widths)
        )
        self.read_out = read_out(space, C)
        self.log_scale = log_scale(space, config.scale)
        self.taps = {"embedding": "drop"} | {f"layer_{i + 1}": f"layers.{i}" for i in range(config.layers)}

    def forward(self, inputs: Tensor) -> Prediction:
        """Map inputs, int64 (B, T) or float32 (B, T, D + 1), to float32 logits (B, T, V) or mean (B, T, D).

        With a learned scale, to the mean and the logarithm of the deviations, both (B, T, D).
        """
        x = self.drop(self.read_in(inputs))  # (B, T, C)
        x = functional.pad(x, (0, 0, self.window - 1, 0))  # (B, n - 1 + T, C)
        x = self.layers(x.unfold(-2, self.window, 1).flatten(-2))  # (B, T, C n) -> (B, T, C)
        return predict(self.read_out(x), self.log_scale)  # (B, T, V) or (B, T, D)


def stacked(config: MLPConfig, space: Space, context: int, members: int) -> WindowMLP:
    """Return the MLP with a leading member axis, for cohorts."""
    return stack(WindowMLP(config, space, context), members)
