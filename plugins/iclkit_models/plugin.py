"""Hooks of the built-in models."""

from collections.abc import Iterator

from iclkit.api import ModelSpec, hookimpl
from iclkit_models.configs import GPT2Config, MLPConfig, RecurrentConfig, StateSpaceConfig, TransformerConfig


@hookimpl
def iclkit_models() -> Iterator[ModelSpec]:
    """Yield the transformer, which is the default, and the others."""
    yield ModelSpec(
        name="transformer",
        summary="A decoder-only transformer (GPT-2 style).",
        config=TransformerConfig,
        build="iclkit_models.transformer:Transformer",
        stacked="iclkit_models.transformer:StackedTransformer",
        unlimited=lambda config: config.positions != "learned",
        grow="iclkit_models.growth:grow",
        default=True,
    )
    yield ModelSpec(
        name="gpt2",
        summary="GPT-2 as published, weight for weight the GPT2LMHeadModel of transformers.",
        config=GPT2Config,
        build="iclkit_models.gpt2:gpt2",
        stacked="iclkit_models.gpt2:stacked",
        grow="iclkit_models.growth:grow",
        exports="iclkit_models.gpt2:exports",
    )
    yield ModelSpec(
        name="lstm",
        summary="A stack of LSTM layers.",
        config=RecurrentConfig,
        build="iclkit_models.recurrent:lstm",
        stacked="iclkit_models.recurrent:stacked_lstm",
        unlimited=lambda config: True,
        revision=2,
    )
    yield ModelSpec(
        name="gru",
        summary="A stack of GRU layers.",
        config=RecurrentConfig,
        build="iclkit_models.recurrent:gru",
        stacked="iclkit_models.recurrent:stacked_gru",
        unlimited=lambda config: True,
    )
    yield ModelSpec(
        name="rnn",
        summary="A stack of plain recurrent layers with tanh (Elman).",
        config=RecurrentConfig,
        build="iclkit_models.recurrent:rnn",
        stacked="iclkit_models.recurrent:stacked_rnn",
        unlimited=lambda config: True,
    )
    yield ModelSpec(
        name="state-space",
        summary="A diagonal linear recurrence with gates (minGRU), computed by a parallel scan.",
        config=StateSpaceConfig,
        build="iclkit_models.state_space:StateSpace",
        stacked="iclkit_models.state_space:stacked",
        unlimited=lambda config: True,
    )
    yield ModelSpec(
        name="mlp",
        summary="An MLP over a window of the last tokens.",
        config=MLPConfig,
        build="iclkit_models.window_mlp:WindowMLP",
        stacked="iclkit_models.window_mlp:stacked",
        unlimited=lambda config: True,
    )
