"""GPT-2 as published: the transformer with GPT-2's choices, and its weights in the names of transformers.

Where the source has V outcomes, GPT2LMHeadModel has a vocabulary of V + 1: index V is the begin token. It also gives
the begin token a logit; the model here gives those of the V outcomes alone.
"""

import json
import re
from collections.abc import Mapping

import safetensors.torch
from torch import Tensor

from iclkit.api import Categorical, NotApplicable, Space
from iclkit_models.configs import GPT2Config, TransformerConfig
from iclkit_models.transformer import StackedTransformer, Transformer


def gpt2(config: GPT2Config, space: Space, context: int) -> Transformer:
    """Return a transformer with learned positions, LayerNorm before its layers, tanh GELU and tied weights."""
    return Transformer(_sizes(config), space, context)


def stacked(config: GPT2Config, space: Space, context: int, members: int) -> StackedTransformer:
    """Return GPT-2 with a leading member axis, for cohorts."""
    return StackedTransformer(_sizes(config), space, context, members)


def _sizes(config: GPT2Config) -> TransformerConfig:
    return TransformerConfig(
        layers=config.layers,
        width=config.width,
        heads=config.heads,
        dropout=config.dropout,
        scale=config.scale,
        gelu="tanh",
        tied=True,
    )


def exports(config: GPT2Config, space: Space, context: int, weights: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Return the files of a folder `transformers` that GPT2LMHeadModel.from_pretrained opens.

    Raises NotApplicable for real tokens, which have no vocabulary.
    """
    if not isinstance(space, Categorical):
        raise NotApplicable("no folder for transformers is written: its GPT-2 reads tokens of a vocabulary, not reals")
    settings = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": space.size + 1,
        "bos_token_id": space.size,
        "eos_token_id": space.size,
        "n_positions": context,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "tie_word_embeddings": True,
    }
    theirs = to_transformers(weights)
    del theirs["lm_head.weight"]  # tied: the file holds it once
    return {
        "transformers/config.json": json.dumps(settings, indent=1).encode(),
        "transformers/model.safetensors": safetensors.torch.save(theirs, metadata={"format": "pt"}),
    }


# Ours and theirs; "#" is the number of a block.
_NAMES = {
    "read_in.weight": "transformer.wte.weight",
    "positions": "transformer.wpe.weight",
    "norm": "transformer.ln_f",
    "blocks.#.attention_norm": "transformer.h.#.ln_1",
    "blocks.#.attention.queries_keys_values": "transformer.h.#.attn.c_attn",
    "blocks.#.attention.project": "transformer.h.#.attn.c_proj",
    "blocks.#.mlp_norm": "transformer.h.#.ln_2",
    "blocks.#.mlp.0": "transformer.h.#.mlp.c_fc",
    "blocks.#.mlp.2": "transformer.h.#.mlp.c_proj",
}
_TRANSPOSED = re.compile(r"c_(attn|proj|fc)\.weight$")  # theirs are (in, out), ours (out, in)
_LEFT_OUT = re.compile(r"^lm_head\.weight$|\.attn\.(masked_)?bias$")  # tied to wte; causal masks of old versions


def from_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of a GPT2LMHeadModel under the names of the model here, matrices transposed.

    Raises KeyError at a name that GPT-2 does not have.
    """
    ours = {}
    for name, value in weights.items():
        if not _LEFT_OUT.search(name):
            ours[_renamed(name, {b: a for a, b in _NAMES.items()})] = value.T if _TRANSPOSED.search(name) else value
    return {name: value.contiguous() for name, value in ours.items()}


def to_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the model's state dict under the names of GPT2LMHeadModel, the tied lm_head.weight included.

    Raises KeyError at a name that GPT-2 does not have, such as that of a learned scale.
    """
    theirs = {}
    for name, value in weights.items():
        other = _renamed(name, _NAMES)
        theirs[other] = (value.T if _TRANSPOSED.search(other) else value).contiguous()
    return theirs | {"lm_head.weight": theirs["transformer.wte.weight"]}


def _renamed(name: str, names: Mapping[str, str]) -> str:
    """Return the other name of a tensor; the number of its block, and .weight or .bias, stay."""
    number = re.search(r"(?<=\.)\d+(?=\.(ln|attn|mlp))|(?<=blocks\.)\d+", name)
    pattern = name if number is None else f"{name[: number.start()]}#{name[number.end() :]}"
    module, _, kind = pattern.rpartition(".")
    other = names[pattern] if pattern in names else f"{names[module]}.{kind}"
    return other if number is None else other.replace("#", number.group())
