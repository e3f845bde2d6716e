"""Layers with a leading member axis, for cohorts: many models of one shape run as one tensor program.

A model's code is written for any leading axes: sequences (B, T, C), or members and sequences (M, B, T, C). `stack`
replaces its layers by those here, whose parameters hold M members, one after another along the first axis, each
member's elements in the order of the ordinary layer. What a member computes depends neither on the others nor on M:
every product is one of a batch, every norm and every sum is over a member's own elements. The last digits of products
and of exponentials do depend on where numbers lie in vector registers and memory; so inputs come with B T a multiple of
32 (the core fills them up), and what has other sizes is worked out member by member. On a CPU this takes one thread.

Shapes: M members, B sequences, T inputs, N = B T rows of a member.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import Module, Parameter, functional

Model = TypeVar("Model", bound=Module)

_LARGE = 1 << 17  # numbers in a member's activations


Layers = Mapping[type[Module], Callable[..., Module]]


def stack(model: Model, members: int, more: Layers | None = None) -> Model:
    """Give every parameter of a model a leading member axis, in place; each member starts with the model's values.

    Parameters that no layer holds get ones between the member axis and their own, so that they meet (M, B, T, C).
    `more` are stacked counterparts of layers beside those here. Raises NotImplementedError for a layer without one.
    """
    layers = {**_LAYERS, **(more or {})}
    for name, child in model.named_children():
        layer = layers.get(type(child))
        setattr(model, name, stack(child, members, more) if layer is None else layer(child, members))
    own = list(model.named_parameters(recurse=False))
    if own and type(model).__module__.startswith("torch."):
        raise NotImplementedError(f"{type(model).__name__} cannot be stacked")
    for name, value in own:
        setattr(model, name, _repeated(value[(None,) * (3 - value.ndim)], members))
    return model


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W' + b for (B, T, in) and a weight (out, in), or for (M, B, T, in) and (M, out, in), bias alike."""
    if weight.ndim == 2:
        return functional.linear(x, weight, bias)
    return _Linear.apply(x.flatten(1, -2), weight, bias).unflatten(1, x.shape[1:-1])


class _Linear(Function):
    """Batched product whose gradients come out in the order of the parameters, without a transposing copy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(M, N, in), (M, out, in), (M, out) -> (M, N, out)."""
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        if bias is None:
            return torch.bmm(x, weight.mT)
        return torch.baddbmm(bias[:, None], x, weight.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        """(M, N, out) -> the gradients of the inputs."""
        (g,), (x, weight) = gradients, ctx.saved_tensors
        return (
            torch.bmm(g, weight) if ctx.needs_input_grad[0] else None,
            _product(g.mT, x),
            g.sum(1) if ctx.biased else None,
        )


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of two batches: one by one where the results would not begin at multiples of 64 bytes.

    The last digits of a product depend on where in memory its result lies.
    """
    if a.shape[1] * b.shape[2] % 16 == 0:
        return torch.bmm(a, b)
    return torch.stack([left @ right for left, right in zip(a, b, strict=True)])


class StackedLinear(nn.Linear):
    """A linear layer for each member: (M, B, T, in) -> (M, B, T, out)."""

    def __init__(self, layer: nn.Linear, members: int):
        Module.__init__(self)
        self.weight = _repeated(layer.weight, members)
        self.bias = None if layer.bias is None else _repeated(layer.bias, members)

    def forward(self, x: Tensor) -> Tensor:
        """Map the rows of each."""
        return linear(x, self.weight, self.bias)


class StackedEmbedding(nn.Embedding):
    """An embedding for each member: (M, B, T) int64 -> (M, B, T, C)."""

    def __init__(self, layer: nn.Embedding, members: int):
        Module.__init__(self)
        self.weight = _repeated(layer.weight, members)

    def forward(self, inputs: Tensor) -> Tensor:
        """Look each member's rows up in one table, member after member."""
        members, size = self.weight.shape[:2]
        offsets = torch.arange(0, members * size, size, device=inputs.device)
        return functional.embedding(inputs + offsets[:, None, None], self.weight.flatten(0, 1))


class StackedNorm(Module):
    """The norm over the channels, and each member's scale and shift: (M, B, T, C) -> (M, B, T, C)."""

    def __init__(self, layer: nn.LayerNorm | nn.RMSNorm, members: int):
        super().__init__()
        self.shape, self.eps, self.centred = layer.normalized_shape, layer.eps or 0.0, isinstance(layer, nn.LayerNorm)
        self.weight = _repeated(layer.weight, members)
        bias = getattr(layer, "bias", None)
        self.bias = None if bias is None else _repeated(bias, members)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, scale and shift: all members at once, or one after the other where each has many rows."""
        if x[0].numel() >= _LARGE:  # what is done in one go, forward and back, then costs less than it saves
            return torch.stack([self.norm(*member) for member in zip(x, *self.parameters(), strict=True)])
        x, weight = self.norm(x), self.weight[:, None, None]
        return x * weight if self.bias is None else torch.addcmul(self.bias[:, None, None], x, weight)

    def norm(self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Normalise, and scale and shift if told by what: (.., C) -> (.., C)."""
        if self.centred:
            return functional.layer_norm(x, self.shape, weight, bias, self.eps)
        return functional.rms_norm(x, self.shape, weight, self.eps)


_LAYERS: Layers = {
    nn.Linear: StackedLinear,
    nn.Embedding: StackedEmbedding,
    nn.LayerNorm: StackedNorm,
    nn.RMSNorm: StackedNorm,
}


def _repeated(value: Tensor, members: int) -> Parameter:
    return Parameter(value.detach().expand(members, *value.shape).clone())
