"""A decoder-only transformer, to be read from top to bottom.

- Norms stand before attention and MLP, and one before the read-out, unless `norm_place` is "post".
- All weight matrices start normal with deviation 0.02, those that write into the residual stream smaller by
  sqrt(2 layers), as in GPT-2; biases start at 0.
- The GELU is exact (erf) unless asked otherwise: the tanh approximation is slower on a CPU.
- Attention is torch's fused one. ALiBi hands it an explicit bias, which also carries the causal mask. On request
  attention is computed step by step, so that its weights can be read.

Shapes: B sequences, T inputs, C width, H query heads, G heads of keys and values, E channels of a head. A cohort has
M members before the sequences, (M, B, T, C): axes are counted from the last.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from iclkit.api import Space
from iclkit_models.configs import TransformerConfig
from iclkit_models.stacked_layers import linear, stack
from iclkit_models.tokens import Prediction, log_scale, output_size, predict, read_in, read_out


def norm(config: TransformerConfig) -> nn.Module:
    """Return the norm over the channels: (B, T, C) -> (B, T, C)."""
    if config.norm == "layer":
        return nn.LayerNorm(config.width, eps=config.norm_eps, bias=config.biases)
    return nn.RMSNorm(config.width, eps=config.norm_eps)


def rotate(x: Tensor) -> Tensor:
    """Turn channel pairs (e, e + E/2) by angles that grow with the position (RoPE): (B, H, T, E) -> the same.

    The angle of pair e at position t is t / 10000^(2 e / E), so that a query and a key meet at their distance.
    """
    T, E = x.shape[-2:]
    frequencies = 10000.0 ** (torch.arange(0, E, 2, device=x.device) / -E)  # (E/2,)
    angles = torch.arange(T, device=x.device)[:, None] * frequencies  # (T, E/2)
    cos, sin = angles.cos(), angles.sin()
    a, b = x.chunk(2, dim=-1)  # (B, H, T, E/2) each
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def alibi(heads: int, T: int, device: torch.device) -> Tensor:
    """Return what ALiBi adds to attention scores, -slope x distance, and -inf ahead: float32 (H, T, T)."""
    slopes = 2.0 ** (-8.0 * torch.arange(1, heads + 1, device=device) / heads)  # (H,)
    position = torch.arange(T, device=device)
    distance = position[:, None] - position  # (T, T), query minus key
    bias = -slopes[:, None, None] * distance  # (H, T, T)
    return bias.masked_fill(distance < 0, -torch.inf)


class Attention(nn.Module):
    """Causal attention with several heads: (B, T, C) -> (B, T, C).

    Query heads h = 0 .. H-1 stand in G groups of neighbours; a group shares one head of keys and values.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.heads, self.kv_heads = config.heads, config.kv_heads or config.heads
        self.channels, self.positions, self.dropout = config.channels, config.positions, config.dropout
        width = self.heads * self.channels
        self.queries_keys_values = nn.Linear(
            config.width, width + 2 * self.kv_heads * self.channels, bias=config.biases
        )
        self.softmax = nn.Softmax(dim=-1)  # runs if explicit; its output is the attention weights, (B, H, T, T)
        self.project = nn.Linear(width, config.width, bias=config.biases)
        self.explicit = False

    def forward(self, x: Tensor) -> Tensor:
        """Let every input look at itself and those before it."""
        H, G, E = self.heads, self.kv_heads, self.channels
        parts = self.queries_keys_values(x).split((H * E, G * E, G * E), dim=-1)  # (B, T, H E) and twice (B, T, G E)
        q, k, v = (part.unflatten(-1, (-1, E)).transpose(-3, -2) for part in parts)  # (B, H or G, T, E)
        if self.positions == "rope":
            q, k = rotate(q), rotate(k)
        if G < H:
            k, v = (part.repeat_interleave(H // G, dim=-3) for part in (k, v))  # (B, H, T, E) each
        attend = self.attend_explicitly if self.explicit else self.attend
        return self.project(attend(q, k, v).transpose(-3, -2).flatten(-2))  # (B, T, C)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return softmax(q k' / sqrt(E) + bias) v: (B, H, T, E), three times, -> the same."""
        bias = alibi(self.heads, q.shape[-2], q.device).to(q) if self.positions == "alibi" else None
        dropout = self.dropout if self.training else 0.0
        rows = q.shape[:-3]  # (B,); or (M, B): members are sequences here, no weights are involved
        q, k, v = (part.flatten(0, -4) for part in (q, k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, bias, dropout, is_causal=bias is None)
        return mixed.unflatten(0, rows)

    def attend_explicitly(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the same, step by step."""
        T = q.shape[-2]
        scores = q @ k.mT / math.sqrt(self.channels)  # (B, H, T, T)
        if self.positions == "alibi":
            scores = scores + alibi(self.heads, T, q.device).to(q)
        else:
            ahead = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
            scores = scores.masked_fill(ahead, -torch.inf)
        return functional.dropout(self.softmax(scores), self.dropout, self.training) @ v


class Gated(nn.Module):
    """The GELU of one half of the channels times the other half: (B, T, 2 C) -> (B, T, C)."""

    def __init__(self, gelu: nn.GELU):
        super().__init__()
        self.gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        """Gate."""
        gate, value = x.chunk(2, dim=-1)
        return self.gelu(gate) * value


def mlp(config: TransformerConfig) -> nn.Sequential:
    """Return the MLP of a block: (B, T, C) -> (B, T, C)."""
    hidden, gated = config.mlp * config.width, config.mlp_kind == "gated"
    gelu = nn.GELU(approximate="tanh" if config.gelu == "tanh" else "none")
    return nn.Sequential(
        nn.Linear(config.width, hidden * (2 if gated else 1), bias=config.biases),
        Gated(gelu) if gated else gelu,
        nn.Linear(hidden, config.width, bias=config.biases),
    )


class Block(nn.Module):
    """Attention and MLP, each added to what comes in: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.attention_norm = norm(config)
        self.attention = Attention(config)
        self.mlp_norm = None if config.attention_only else norm(config)
        self.mlp = None if config.attention_only else mlp(config)
        self.drop = nn.Dropout(config.dropout)
        self.post = config.norm_place == "post"

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions, then channels."""
        x = self.add(self.attention, self.attention_norm, x)
        return x if self.mlp is None or self.mlp_norm is None else self.add(self.mlp, self.mlp_norm, x)

    def add(self, layer: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
        """Add what a layer makes of x, with the norm before the layer or after the sum."""
        return norm(x + self.drop(layer(x))) if self.post else x + self.drop(layer(norm(x)))


class Transformer(nn.Module):
    """Predict the token after each input.

    Probes read it through forward hooks on submodules, which `get_submodule` finds by name:

    - `taps` names those whose outputs are the residual stream, (B, T, C): after the embedding, after each block, and
      before the read-out.
    - `attention_taps` names those whose outputs are attention weights, (B, H, T, T), rows summing to 1. They run
      only after `explicit_attention()`, which changes outputs by rounding alone.

    Parameters
    ----------
    config : sizes and variants.
    space : what a token is.
    context : longest input T that learned positions allow; the other kinds have no limit.

    """

    def __init__(self, config: TransformerConfig, space: Space, context: int):
        super().__init__()
        self.context, self.outputs = context, output_size(space)
        self.read_in = read_in(space, config.width)
        learned = config.positions == "learned"
        self.positions = nn.Parameter(torch.empty(context, config.width)) if learned else None
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.layers)))
        self.norm = nn.Identity() if config.norm_place == "post" else norm(config)
        self.read_out = None if config.tied else read_out(space, config.width)
        self.read_previous = nn.ModuleList(read_in(space, config.width) for _ in range(config.previous))
        self.log_scale = log_scale(space, config.scale)
        layers = range(config.layers)
        self.taps = {"embedding": "drop"} | {f"layer_{i + 1}": f"blocks.{i}" for i in layers} | {"final": "norm"}
        self.attention_taps = {f"layer_{i + 1}": f"blocks.{i}.attention.softmax" for i in layers}
        self.initialise()

    def initialise(self) -> None:
        """Draw all weights anew, from torch's generator."""
        if self.positions is not None:
            nn.init.normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for block in self.blocks:
            assert isinstance(block, Block)
            for last in (block.attention.project, block.mlp[-1] if block.mlp else None):
                if isinstance(last, nn.Linear):
                    nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * len(self.blocks)))

    def explicit_attention(self, explicit: bool = True) -> None:
        """Compute attention step by step, so that `attention_taps` run, or fused again."""
        for module in self.modules():
            if isinstance(module, Attention):
                module.explicit = explicit

    def places(self, positions: Tensor, T: int) -> Tensor:
        """Return the learned vectors of the first T positions, (T, C)."""
        if self.context < T:
            raise ValueError(f"{T} inputs are longer than the context of learned positions, {self.context}")
        return positions[:T]

    def forward(self, inputs: Tensor) -> Prediction:
        """Map inputs, int64 (B, T) or float32 (B, T, D + 1), to float32 logits (B, T, V) or mean (B, T, D).

        With a learned scale, to the mean and the logarithm of the deviations, both (B, T, D). Raises ValueError where
        T is longer than the context of learned positions.
        """
        x = self.read_in(inputs)  # (B, T, C)
        for back, read in enumerate(self.read_previous, start=1):
            x = x + functional.pad(read(inputs), (0, 0, back, 0))[..., : x.shape[-2], :]  # nothing before the first
        if self.positions is not None:
            x = x + self.places(self.positions, x.shape[-2])
        x = self.norm(self.blocks(self.drop(x)))  # (B, T, C)
        if self.read_out is not None:
            return predict(self.read_out(x), self.log_scale)  # (B, T, V) or (B, T, D)
        weight = self.read_in.weight  # (V + 1, C), or (C, D + 1); the begin token is never predicted
        if isinstance(self.read_in, nn.Linear):
            weight = weight.mT
        return predict(linear(x, weight[..., : self.outputs, :]), self.log_scale)


class StackedTransformer(Transformer):
    """The transformer with a leading member axis, for cohorts: (M, B, T) -> (M, B, T, V), or those of reals."""

    def __init__(self, config: TransformerConfig, space: Space, context: int, members: int):
        super().__init__(config, space, context)
        stack(self, members)

    def places(self, positions: Tensor, T: int) -> Tensor:
        """Return (M, 1, T, C); 0 beyond the context, where inputs fill up and outputs are not used."""
        return functional.pad(positions, (0, 0, 0, max(0, T - self.context)))[..., :T, :]
