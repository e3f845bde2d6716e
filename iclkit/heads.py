"""Between tokens and modules: what a module reads, what its output means, and the loss that trains it.

At input i a module predicts the token that follows. With a begin token the inputs are (begin, x_1 .. x_{T-1}) and
every position is predicted; without it position 1 is not. A categorical module returns logits; a real one the mean
of a Gaussian whose scale is the source's noise (squared-error training), or (mean, log scale) to learn the scale,
over the channels that the space says are predicted.
"""

import torch
from torch import Tensor
from torch.nn import Module, functional

from iclkit.predictors import CategoricalDistribution, GaussianDistribution
from iclkit.protocols import Batch
from iclkit.spaces import Categorical, Real
from iclkit.specs import Facts


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


def loss(module: Module, facts: Facts, batch: Batch, bos: bool) -> Tensor:
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
    def distribution(self, batch: Batch) -> CategoricalDistribution | GaussianDistribution:
        """Run the module once over the batch; log-probabilities are normalised in float64."""
        device = next(self.module.parameters()).device
        output = self.module(_inputs(self.facts, batch.tokens.to(device), self.bos))
        if isinstance(self.facts.space, Categorical):
            return CategoricalDistribution(self._padded(output.cpu().double().log_softmax(-1)))
        both = output if isinstance(output, tuple) else (output,)
        double = tuple(part.cpu().double() for part in both)
        gaussian = _gaussian(self.facts, double if isinstance(output, tuple) else double[0])
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
