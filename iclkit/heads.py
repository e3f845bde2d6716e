"""Between tokens and modules: what a module reads, what its output means, and the loss that trains it.

At input i a module predicts the token that follows. With a begin token the inputs are (begin, x_1 .. x_{T-1}) and
every position is predicted; without it position 1 is not. A categorical module returns logits; a real one the mean
of a Gaussian whose scale is the source's noise (squared-error training), or (mean, log scale) to learn the scale,
over the channels that the space says are predicted.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, functional

from iclkit.predictors import CategoricalDistribution, GaussianDistribution
from iclkit.protocols import Batch
from iclkit.spaces import Categorical, Real
from iclkit.specs import Facts

_BLOCK = 32  # float32 numbers that a processor's vector instructions take at a time, at most


def _inputs(facts: Facts, tokens: Tensor, bos: bool) -> Tensor:
    """Return what the module reads: int64 (B, T), or float32 (B, T, D + 1), one token fewer without begin token."""
    before = tokens[:, :-1]
    if isinstance(facts.space, Categorical):
        return functional.pad(before, (1, 0), value=facts.space.size) if bos else before
    before = functional.pad(before.float(), (0, 1))  # the begin flag is 0 at every token
    if not bos:
        return before
    begin = torch.zeros_like(tokens[:, :1], dtype=torch.float32)
    return torch.cat([functional.pad(begin, (0, 1), value=1.0), before], dim=1)


def loss(module: Callable[[Tensor], Any], facts: Facts, batch: Batch, bos: bool) -> Tensor:
    """Return the loss of each token, float32 (B, T), nats; 0 where masked, and at position 1 without begin token."""
    output = module(_inputs(facts, batch.tokens, bos))  # (B, T or T - 1, V or D)
    targets = batch.tokens if bos else batch.tokens[:, 1:]
    if isinstance(facts.space, Categorical):
        losses = functional.cross_entropy(output.flatten(0, 1).float(), targets.flatten(), reduction="none")
        losses = losses.view(targets.shape)
    else:
        losses = -_gaussian(facts, output).log_prob(targets.float())
    if not bos:
        losses = functional.pad(losses, (1, 0))
    return losses * batch.mask


def losses_together(
    module: Module, facts: Facts, batches: Sequence[Batch], bos: bool, context: int | None = None
) -> Tensor:
    """Return the loss of each token of M members' batches, float32 (M, B, T), on the module's device.

    The module has a leading member axis, the members' facts agree but for their topics. Sequences are filled up at the
    end, with what no position before it sees and what is not scored, until every member's numbers fill whole blocks of
    memory: a product or an exponential in the middle of a block may have other last digits than one at its end, and a
    member's bits must not depend on where it stands. Inputs become no longer than `context`, if that is a number.
    """
    members, device = len(batches), next(module.parameters()).device
    tokens = torch.stack([batch.tokens for batch in batches]).to(device)  # (M, B, T) or (M, B, T, D)
    mask = torch.stack([batch.mask for batch in batches]).to(device)
    B, T = mask.shape[1:]
    first = 0 if bos else 1
    rows, inputs = _filled(B, T - first, context)
    fill = (0, inputs + first - T, 0, rows - B)
    tokens = functional.pad(tokens, fill if tokens.ndim == 3 else (0, 0, *fill))
    whole = batches[0].replace(tokens=tokens.flatten(0, 1), mask=functional.pad(mask, fill).flatten(0, 1))

    def flat(inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        output = module(inputs.unflatten(0, (members, rows)))
        return tuple(part.flatten(0, 1) for part in output) if isinstance(output, tuple) else output.flatten(0, 1)

    return loss(flat, facts, whole, bos).unflatten(0, (members, rows))[:, :B, :T]


def _filled(rows: int, length: int, longest: int | None) -> tuple[int, int]:
    """Return the fewest (rows, length), no smaller than these, whose product is a multiple of `_BLOCK`."""
    lengths = range(length, min(length + _BLOCK, (longest or length + _BLOCK) + 1))
    steps = [(_BLOCK // math.gcd(_BLOCK, one), one) for one in lengths]
    return min(((-(-rows // step) * step, one) for step, one in steps), key=math.prod)


def _gaussian(facts: Facts, output: Tensor | tuple[Tensor, Tensor]) -> GaussianDistribution:
    """Return the Gaussian a module's output means, diagonal; at least float32, whatever the module computes in."""
    assert isinstance(facts.space, Real)
    answer, log_scale = output if isinstance(output, tuple) else (output, None)
    mean = answer[..., : facts.space.scored]
    mean = mean.to(torch.promote_types(mean.dtype, torch.float32))
    if log_scale is None:
        return GaussianDistribution(mean, torch.full_like(mean, facts.noise))
    log_scale = log_scale.expand(answer.shape)[..., : facts.space.scored]
    return GaussianDistribution(mean, log_scale.to(mean.dtype).exp())


class ModulePredictor:
    """A trained module as a predictor; position 1 is NaN without a begin token."""

    def __init__(self, module: Module, facts: Facts, bos: bool):
        self.module, self.facts, self.bos = module.eval(), facts, bos

    @torch.no_grad()
    def output(self, batch: Batch) -> Tensor | tuple[Tensor, Tensor]:
        """Run the module once over the batch and return what it says, on its own device."""
        device = next((weight.device for weight in self.module.parameters()), batch.tokens.device)  # rules have none
        return self.module(_inputs(self.facts, batch.tokens.to(device), self.bos))

    def distribution(self, batch: Batch) -> CategoricalDistribution | GaussianDistribution:
        """Run the module once over the batch; log-probabilities are normalised in float64."""
        output = self.output(batch)
        if isinstance(output, Tensor):
            output = output.cpu().double()
            if isinstance(self.facts.space, Categorical):
                return CategoricalDistribution(self._padded(output.log_softmax(-1)))
        else:
            output = output[0].cpu().double(), output[1].cpu().double()
        gaussian = _gaussian(self.facts, output)
        return GaussianDistribution(self._padded(gaussian.mean), self._padded(gaussian.scale))

    def log_prob(self, batch: Batch) -> Tensor:
        """Return float64 (B, T)."""
        return self.distribution(batch).log_prob(batch.tokens)

    def mean(self, batch: Batch) -> Tensor | None:
        """Return the conditional mean of real tokens, float64 (B, T, D); None for categorical ones."""
        distribution = self.distribution(batch)
        return distribution.mean if isinstance(distribution, GaussianDistribution) else None

    def _padded(self, values: Tensor) -> Tensor:
        return values if self.bos else functional.pad(values, (0, 0, 1, 0), value=torch.nan)
