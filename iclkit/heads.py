"""Between tokens and modules: what a module reads, what its output means, and the loss that trains it.

At input i a module predicts the token that follows. With a begin token the inputs are (begin, x_1 .. x_{T-1}) and
every position is predicted; without it position 1 is not.
"""

import torch
from torch import Tensor
from torch.nn import Module, functional

from iclkit.predictors import CategoricalDistribution
from iclkit.protocols import Batch
from iclkit.spaces import Categorical, Space


def _inputs(space: Space, tokens: Tensor, bos: bool) -> Tensor:
    """Return what the module reads for tokens (B, T): (B, T) with the begin token first, else (B, T - 1)."""
    assert isinstance(space, Categorical)
    if not bos:
        return tokens[:, :-1]
    return functional.pad(tokens[:, :-1], (1, 0), value=space.size)


def loss(module: Module, space: Space, batch: Batch, bos: bool) -> Tensor:
    """Return the loss of each token, float32 (B, T), nats; 0 where masked, and at position 1 without begin token."""
    logits = module(_inputs(space, batch.tokens, bos))  # (B, T or T - 1, V)
    targets = batch.tokens if bos else batch.tokens[:, 1:]
    losses = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    losses = losses.view(targets.shape)
    if not bos:
        losses = functional.pad(losses, (1, 0))
    return losses * batch.mask


class ModulePredictor:
    """A trained module as a predictor; position 1 is NaN without a begin token."""

    def __init__(self, module: Module, space: Space, bos: bool):
        self.module, self.space, self.bos = module.eval(), space, bos

    @torch.no_grad()
    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Run the module once over the batch; log-probabilities are normalised in float64."""
        device = next(self.module.parameters()).device
        logits = self.module(_inputs(self.space, batch.tokens.to(device), self.bos))
        log_probs = logits.cpu().double().log_softmax(-1)
        if not self.bos:
            log_probs = functional.pad(log_probs, (0, 0, 1, 0), value=torch.nan)
        return CategoricalDistribution(log_probs)

    def log_prob(self, batch: Batch) -> Tensor:
        """Return float64 (B, T)."""
        return self.distribution(batch).log_prob(batch.tokens)
