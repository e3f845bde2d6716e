"""Hooks of the built-in models."""

from collections.abc import Iterator

from iclkit.api import ModelSpec, hookimpl
from iclkit_models.configs import LSTMConfig, TransformerConfig


@hookimpl
def iclkit_models() -> Iterator[ModelSpec]:
    """Yield the transformer, which is the default, and the LSTM."""
    yield ModelSpec(
        name="transformer",
        summary="A decoder-only transformer (GPT-2 style).",
        config=TransformerConfig,
        build="iclkit_models.transformer:Transformer",
        unlimited=lambda config: config.positions != "learned",
        default=True,
    )
    yield ModelSpec(
        name="lstm",
        summary="A stack of LSTM layers.",
        config=LSTMConfig,
        build="iclkit_models.lstm:LSTM",
        unlimited=lambda config: True,
    )
