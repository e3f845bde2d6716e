"""The sizes of the first paper's networks (next-token-pretraining-implies-icl, 3.4): six tokens, begin included."""

import pytest
import torch

from iclkit.api import Categorical
from iclkit_models.configs import RecurrentConfig, TransformerConfig
from iclkit_models.recurrent import gru
from iclkit_models.transformer import Transformer


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def llama_like(width, layers, kv_heads):
    config = TransformerConfig(
        layers=layers,
        width=width,
        heads=2 * kv_heads,
        kv_heads=kv_heads,
        head_width=width,
        mlp=1,
        mlp_kind="gated",
        gelu="tanh",
        positions="rope",
        norm="rms",
        norm_eps=1e-6,
        biases=False,
    )
    return Transformer(config, Categorical(5), 100)


def test_the_small_transformer_has_about_8_thousand_parameters():
    block = 2 * 16 + 16 * (4 + 2 + 2 + 4) * 16 + 3 * 16 * 16
    assert parameters(llama_like(16, 2, 2)) == 6 * 16 + 2 * block + 16 + 5 * 16
    assert parameters(llama_like(16, 2, 2)) == pytest.approx(8000, rel=0.1)


def test_the_medium_transformer_has_about_110_thousand_parameters():
    assert parameters(llama_like(32, 4, 4)) == pytest.approx(1.1e5, rel=0.1)


def test_the_gru_has_about_2800_parameters():
    torch.manual_seed(0)
    config = RecurrentConfig(layers=2, width=16, embedding="one-hot")
    assert parameters(gru(config, Categorical(5), 100)) == pytest.approx(2800, rel=0.1)
