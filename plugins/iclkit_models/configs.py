"""What can be said to a model in a config; nothing heavy is imported here."""

from collections.abc import Iterator
from typing import Any, Literal

from iclkit.api import frozen, option

Scale = Literal["fixed", "learned"]


def _dropout(what: str, default: float = 0.0) -> Any:
    return option(f"share of activations dropped in training: {what}", default=default, at_least=0.0, below=1.0)


def _scale() -> Any:
    return option(
        "deviation of the Gaussian over real tokens: the source's noise, or one learned per channel", default="fixed"
    )


@frozen(kw_only=True)
class TransformerConfig:
    """A decoder-only transformer; by default with norms before its layers, as GPT-2 has them."""

    layers: int = option("number of blocks", default=2, at_least=1)
    width: int = option("width of the residual stream", default=64, at_least=1)
    heads: int = option("attention heads; without head_width they divide the width", default=4, at_least=1)
    kv_heads: int | None = option(
        "heads of keys and values, each shared by heads / kv_heads query heads; heads if absent",
        default=None,
        at_least=1,
        sample=2,
    )
    head_width: int | None = option("channels of a head; width / heads if absent", default=None, at_least=1)
    attention_only: bool = option("leave out the MLPs", default=False)
    mlp: int = option("hidden width of the MLP, in widths", default=4, at_least=1)
    mlp_kind: Literal["plain", "gated"] = option(
        "GELU between two layers, or the GELU of one half of the first layer times the other half", default="plain"
    )
    gelu: Literal["exact", "tanh"] = option("the GELU itself or its tanh approximation", default="exact")
    positions: Literal["learned", "rope", "alibi", "none"] = option(
        "how positions are told apart; all but learned accept inputs longer than the context", default="learned"
    )
    previous: int = option(
        "inputs before each that are embedded with it; with one of them a single layer can copy what followed a token",
        default=0,
        at_least=0,
    )
    norm: Literal["layer", "rms"] = option("LayerNorm or RMSNorm", default="layer")
    norm_place: Literal["pre", "post"] = option(
        "norms before attention and MLP and before the read-out, or after each sum", default="pre"
    )
    norm_eps: float = option("what norms add to the variance", default=1e-5, above=0.0)
    biases: bool = option("biases in the blocks' layers and in LayerNorm", default=True)
    dropout: float = _dropout("embeddings, attention, residuals")
    tied: bool = option("read out with the weights that read in", default=False)
    scale: Scale = _scale()

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        if self.head_width is None and self.width % self.heads:
            allowed = "a divisor of width"
            yield "heads", f"{self.heads} does not divide width = {self.width}; allowed: {allowed}"
        elif self.positions == "rope" and self.channels % 2:
            name = "width / heads" if self.head_width is None else "head_width"
            yield "positions", f"rope turns pairs of channels, but {name} = {self.channels}; allowed: an even one"
        if self.kv_heads is not None and self.heads % self.kv_heads:
            allowed = "a divisor of heads"
            yield "kv_heads", f"{self.kv_heads} does not divide heads = {self.heads}; allowed: {allowed}"

    @property
    def channels(self) -> int:
        """Channels of a head."""
        return self.head_width or self.width // self.heads


@frozen(kw_only=True)
class GPT2Config:
    """GPT-2 as published; its defaults are the sizes of GPT-2 small."""

    layers: int = option("number of blocks", default=12, at_least=1)
    width: int = option("width of the residual stream", default=768, at_least=1)
    heads: int = option("attention heads; they divide the width", default=12, at_least=1)
    dropout: float = _dropout("embeddings, attention, residuals", default=0.1)
    scale: Scale = _scale()

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        if self.width % self.heads:
            allowed = "a divisor of width"
            yield "heads", f"{self.heads} does not divide width = {self.width}; allowed: {allowed}"


@frozen(kw_only=True)
class RecurrentConfig:
    """A stack of recurrent layers: LSTM, GRU or plain."""

    layers: int = option("number of layers", default=1, at_least=1)
    width: int = option("hidden units of each layer", default=64, at_least=1)
    embedding: Literal["learned", "one-hot"] = option(
        "read tokens in through a learned layer, or as one channel per token (real tokens: as they are)",
        default="learned",
    )
    norm: Literal["none", "layer"] = option("whether a LayerNorm follows each layer", default="none")
    dropout: float = _dropout("embeddings and layers' outputs")
    scale: Scale = _scale()


@frozen(kw_only=True)
class StateSpaceConfig:
    """A diagonal linear recurrence with gates, in blocks like a transformer's."""

    layers: int = option("number of blocks", default=2, at_least=1)
    width: int = option("width of the residual stream", default=64, at_least=1)
    state: int = option("channels of the recurrent state, in widths", default=1, at_least=1)
    mlp: int = option("hidden width of the MLP, in widths; 0 for none", default=4, at_least=0)
    dropout: float = _dropout("embeddings, residuals")
    scale: Scale = _scale()


@frozen(kw_only=True)
class MLPConfig:
    """An MLP over a window of the last tokens."""

    window: int = option("inputs that a prediction sees, the latest ones", default=8, at_least=1)
    layers: int = option("number of hidden layers", default=2, at_least=1)
    width: int = option("width of embeddings and hidden layers", default=64, at_least=1)
    dropout: float = _dropout("embeddings and layers' outputs")
    scale: Scale = _scale()
