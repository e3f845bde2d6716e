"""What can be said to a model in a config; nothing heavy is imported here."""

from collections.abc import Iterator
from typing import Literal

from iclkit.api import frozen, option


@frozen(kw_only=True)
class TransformerConfig:
    """A decoder-only transformer with norms before its layers, as GPT-2 has them."""

    layers: int = option("number of blocks", default=2, at_least=1)
    width: int = option("width of the residual stream", default=64, at_least=1)
    heads: int = option("attention heads; they divide the width", default=4, at_least=1)
    mlp: int = option("hidden width of the MLP, in widths", default=4, at_least=1)
    positions: Literal["learned", "rope", "alibi", "none"] = option(
        "how positions are told apart; all but learned accept inputs longer than the context", default="learned"
    )
    norm: Literal["layer", "rms"] = option("LayerNorm or RMSNorm", default="layer")
    dropout: float = option(
        "share of activations dropped in training: embeddings, attention, residuals",
        default=0.0,
        at_least=0.0,
        below=1.0,
    )
    tied: bool = option("read out with the weights that read in", default=False)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        if self.width % self.heads:
            allowed = "a divisor of width"
            yield "heads", f"{self.heads} does not divide width = {self.width}; allowed: {allowed}"
        elif self.positions == "rope" and self.width // self.heads % 2:
            width = self.width // self.heads
            yield "positions", f"rope turns pairs of channels, but width / heads = {width}; allowed: an even one"


@frozen(kw_only=True)
class LSTMConfig:
    """A stack of LSTM layers."""

    layers: int = option("number of layers", default=1, at_least=1)
    width: int = option("hidden units of each layer", default=64, at_least=1)
    dropout: float = option(
        "share of activations dropped in training: embeddings and layers' outputs",
        default=0.0,
        at_least=0.0,
        below=1.0,
    )
