"""Prefix matching and copying of attention heads (Olsson et al. 2022, In-context Learning and Induction Heads)."""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from iclkit.api import Batch, Categorical, MeasuredCell, NotApplicable, activations
from iclkit_metrics.induction_heads.knockout import without_head
from iclkit_metrics.induction_heads.repeated import block_length, held, repeated, targets
from iclkit_metrics.induction_heads.spec import HEADS
from iclkit_metrics.snapshots import chosen
from iclkit_metrics.with_error import with_error


class InductionHeads:
    """Scores of every head on uniform random blocks of different tokens, repeated; each block has its own length.

    Prefix matching: the attention from a token to those that came after it in earlier repeats, averaged over the
    tokens that have come before (Olsson et al., "Head activation evaluators"). A head that always looks there has 1,
    one that looks everywhere alike `prefix_matching_chance`.

    Copying: what a head adds to the logits of the next token is found by leaving the head out; of what it raises above
    its mean over the vocabulary, the share that is on the tokens it attends to, weighted by its attention. A head that
    raises nothing but what it looks at has 1, one whose choice knows nothing of that `copying_chance` = 1/V. Olsson et
    al. follow the head's own output to the logits instead; leaving it out counts what later layers make of it too.

    Standard errors are over the sequences.
    """

    def __init__(self, config: Any):
        self._config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return the scores, dims (step, layer, head); raises NotApplicable where there is no attention to read."""
        config, space = self._config, cell.facts.space
        if not isinstance(space, Categorical):
            raise NotApplicable("induction heads are looked for with repeated tokens of a vocabulary; these are real")
        try:
            block = block_length(config.block, config.repeats, space.size, cell.length)
        except ValueError as reason:
            raise NotApplicable(str(reason)) from None
        batch, spans = repeated(block, config.repeats, space.size, config.sequences, cell.key.fold("tokens"))
        where = targets(spans, batch.length)
        steps = chosen(cell.steps, config.snapshots)
        scores = {step: self._scores(cell.models[step], batch, where) for step in steps.values()}
        layers = list(next(iter(scores.values())))
        heads = max(values.shape[1] for values in next(iter(scores.values())).values())
        mean = np.full((2, len(cell.steps), len(layers), heads), np.nan)  # prefix matching, copying
        error = mean.copy()
        for place, step in steps.items():
            for layer, name in enumerate(layers):
                values = scores[step][name]  # (2, H, n)
                mean[:, place, layer, : values.shape[1]] = values.mean(2)
                error[:, place, layer, : values.shape[1]] = values.std(2, ddof=1) / np.sqrt(values.shape[2])
        begin = int(cell.models[cell.steps[-1]].bos)  # without begin token there is nothing at key 1
        keys = (torch.arange(batch.length) + begin).clamp(min=1)  # how many a query looks at
        alike = where.sum(2) / keys  # what uniform attention gives, (n, T)
        chance = (alike.sum(1) / where.any(2).sum(1)).mean()
        variables: dict[str, Any] = with_error("prefix_matching", HEADS, mean[0], error[0], "1")
        variables["prefix_matching_chance"] = ((), float(chance))
        if config.copying:
            variables |= with_error("copying", HEADS, mean[1], error[1], "1")
            variables["copying_chance"] = ((), 1 / space.size)
        coords = {"step": list(cell.steps), "layer": layers, "head": np.arange(1, heads + 1)}
        return xr.Dataset(variables, coords=coords)

    def _scores(self, model: Any, batch: Batch, where: Tensor) -> dict[str, np.ndarray]:
        """Return both scores of a model's heads by layer, (2, H, n); copying is NaN unless asked for.

        `where` is bool (n, T, T).
        """
        attention = activations(model, batch, attention=True)
        output = model.output(batch) if self._config.copying else None
        scores = {}
        for layer, weights in attention.items():
            weights = weights.double()  # (n, H, T, T)
            looked = torch.where(where[:, None], weights, 0.0).sum((2, 3))  # (n, H)
            matching = looked / where.any(2).sum(1, keepdim=True)
            copying = torch.full_like(matching, torch.nan)
            if self._config.copying:
                path = model.module.attention_taps[layer]
                for head in range(matching.shape[1]):
                    with without_head(model.module, path, head):
                        added = (output - model.output(batch)).cpu().double()  # logits (n, T or T - 1, V)
                    copying[:, head] = _copying(added, batch.tokens, weights[:, head], where.any(2))
            scores[layer] = torch.stack([matching, copying]).transpose(1, 2).numpy()
        return scores


def _copying(added: Tensor, tokens: Tensor, weights: Tensor, scored: Tensor) -> Tensor:
    """Return the copying score of a head, float64 (n,).

    It adds logits (n, T or T - 1, V) at the last queries and has attention weights (n, T, T); `scored` is (n, T).
    """
    last, size = added.shape[1:]
    raised = (added - added.mean(-1, keepdim=True)).clamp(min=0) * scored[:, -last:, None]  # (n, Q, V)
    attended = torch.zeros(len(added), last, size + 1, dtype=torch.float64)
    channel = held(tokens) % (size + 1)  # what begins is in the last one
    attended.scatter_add_(-1, channel[:, None].expand(-1, last, -1), weights[:, -last:])
    return (raised * attended[..., :-1]).sum((1, 2)) / raised.sum((1, 2)).clamp(min=1e-300)
