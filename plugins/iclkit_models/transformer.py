"""A decoder-only transformer, to be read from top to bottom.

- Norms stand before attention and MLP, and one before the read-out.
- All weight matrices start normal with deviation 0.02, those that write into the residual stream smaller by
  sqrt(2 layers), as in GPT-2; biases start at 0.
- The GELU is exact (erf): the tanh approximation is slower on a CPU.
- Attention is torch's fused one. ALiBi hands it an explicit bias, which also carries the causal mask.

Shapes: B sequences, T inputs, C width, H heads, E = C / H.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from iclkit.api import Space
from iclkit_models.configs import TransformerConfig
from iclkit_models.tokens import output_size, read_in, read_out


def norm(config: TransformerConfig) -> nn.Module:
    """Return the norm over the channels: (B, T, C) -> (B, T, C)."""
    return nn.LayerNorm(config.width) if config.norm == "layer" else nn.RMSNorm(config.width, eps=1e-5)


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
    """Causal attention with several heads: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.heads, self.positions, self.dropout = config.heads, config.positions, config.dropout
        self.queries_keys_values = nn.Linear(config.width, 3 * config.width)
        self.project = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """Let every input look at itself and those before it."""
        B, T, C = x.shape
        heads = self.queries_keys_values(x).view(B, T, 3, self.heads, C // self.heads)  # (B, T, 3, H, E)
        q, k, v = heads.transpose(1, 3).unbind(2)  # (B, H, T, E) each
        if self.positions == "rope":
            q, k = rotate(q), rotate(k)
        bias = alibi(self.heads, T, x.device).to(q) if self.positions == "alibi" else None
        y = functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=bias,
            is_causal=bias is None,
            dropout_p=self.dropout if self.training else 0.0,
        )  # (B, H, T, E)
        return self.project(y.transpose(1, 2).reshape(B, T, C))


class Block(nn.Module):
    """Attention and MLP, each added to what comes in: (B, T, C) -> (B, T, C)."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.attention_norm = norm(config)
        self.attention = Attention(config)
        self.mlp_norm = norm(config)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, config.mlp * config.width),
            nn.GELU(),
            nn.Linear(config.mlp * config.width, config.width),
        )
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Mix positions, then channels."""
        x = x + self.drop(self.attention(self.attention_norm(x)))
        return x + self.drop(self.mlp(self.mlp_norm(x)))


class Transformer(nn.Module):
    """Predict the token after each input.

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
        self.norm = norm(config)
        self.read_out = None if config.tied else read_out(space, config.width)
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
        for module in self.blocks:
            assert isinstance(module, Block)
            for last in (module.attention.project, module.mlp[-1]):
                assert isinstance(last, nn.Linear)
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * len(self.blocks)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs, int64 (B, T) or float32 (B, T, D + 1), to float32 logits (B, T, V) or mean (B, T, D).

        Raises ValueError where T is longer than the context of learned positions.
        """
        x = self.read_in(inputs)  # (B, T, C)
        if self.positions is not None:
            T = x.shape[1]
            if self.context < T:
                raise ValueError(f"{T} inputs are longer than the context of learned positions, {self.context}")
            x = x + self.positions[:T]
        x = self.norm(self.blocks(self.drop(x)))  # (B, T, C)
        if self.read_out is not None:
            return self.read_out(x)  # (B, T, V) or (B, T, D)
        weight = self.read_in.weight  # (V + 1, C), or (C, D + 1); the begin token is never predicted
        if isinstance(self.read_in, nn.Linear):
            weight = weight.T
        return functional.linear(x, weight[: self.outputs])
