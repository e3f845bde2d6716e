"""In-context learning in single numbers, for the model and for the exact references on the same tokens."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from iclkit.api import MeasuredCell, NotApplicable, ScoredBatch
from iclkit_metrics.expected_loss import above, expected_loss
from iclkit_metrics.families import family_of
from iclkit_metrics.icl_score import outside
from iclkit_metrics.scored_positions import first_predicted, mean_over, scored_positions, since, sum_over, tenth


class IclScore:
    """Score and area of in-context learning, and what each topic costs; arXiv 2505.18373.

    icl_score : mean loss in the late window less that in the early one (Olsson et al. 2022, arXiv 2209.11895, with
        positions 500 and 50); the more negative, the more is learned in context. Nats per token.
    loss_area : sum_l (c_l - c_L) over the L scored positions, nats. The optimum's is `loss_area_optimum`, and with
        the entropy rate h in place of h_L it is the excess entropy sum_l (h_l - h) up to L (section 1.2).
    topic_loss : L_l^(c), the loss on the sequences of topic c (section 1.6).
    topic_cost : sum_l (L_l^(c) - h_l^(c)), the model's loss above the oracle over the whole context. The optimum's is
        D_KL(P_c^L, P^L) <= - ln w_c = `topic_cost_limit`, what it tends to where topics can be told apart (section 5).
    outside_loss : the loss on topics outside the ensemble. Where its K topics are known it tends to that of the nearest
        of them, H(R) + min_c D(R, P_c) per token for independent tokens, `outside_limit` (section 5, 5).

    Positions are those that are scored and predicted: without a begin token position 1 is left out, of the references
    too. A reference is averaged over the sequences that it does not rule out.
    """

    def __init__(self, config: Any):
        self._config = config
        self._family: Any = None
        self._first = 1  # the first position that the models predict
        self.coords: dict[str, list[int]] = {}

    def begin(self, cell: MeasuredCell) -> None:
        """Look up the topics; raises NotApplicable for windows outside the context and for other tokens outside."""
        for name in ("early", "late"):
            window = getattr(self._config, name)
            if window and window[1] > cell.length:
                raise NotApplicable(f"the {name} window ends at position {window[1]}, sequences at {cell.length}")
        outside.check(self._config.outside, cell)
        family = family_of(cell)
        if family is not None and len(family.weights) <= self._config.topics:
            self._family, self.coords = family, {"topic": family.topics.numbers.tolist()}
        self._first = first_predicted(cell)

    def score(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return score and area, float64 (B,), and the loss and cost of each topic, float64 (B, K, T) and (B, K)."""
        loss, mask = expected_loss(batch, batch.model), since(batch.mask, self._first)
        scores = {"icl_score": self._late_less_early(loss, mask), "loss_area": _area(loss, mask)}
        own = self._own(batch)
        if own is not None:
            scores["topic_loss"] = torch.where(own[..., None], loss[:, None], torch.nan)
            if "oracle" in batch.references:
                scores["topic_cost"] = _told_apart(own, above(batch, batch.references["oracle"])[0], mask)
        return scores

    def score_references(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return the references' score and area, float64 (B, R), and what topics cost the optimum, float64 (B, K)."""
        mask = since(batch.mask, self._first)
        floors = {name: _defined(expected_loss(batch, each), batch.mask) for name, each in batch.references.items()}
        if not floors:
            return {}
        scores = {
            "icl_score_floor": torch.stack([self._late_less_early(floor, mask) for floor in floors.values()], dim=1),
            "loss_area_floor": torch.stack([_area(floor, mask) for floor in floors.values()], dim=1),
        }
        own = self._own(batch)
        if own is not None and batch.optimum is not None and "oracle" in floors:
            scores["topic_cost_optimum"] = _told_apart(own, floors[batch.optimum] - floors["oracle"], mask)
        return scores

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Add the exact area and excess entropy, the limits of the topics' cost, and the topics outside."""
        made = self._exact(cell)
        if self._family is not None:
            made["topic_cost_limit"] = ("topic", -np.log(self._family.weights.numpy()))
            made = made.assign_coords(self.coords)
        if self._config.outside is not None:
            made = made.merge(outside.measure(self._config, cell, family_of(cell), self._late))
        return made

    def _exact(self, cell: MeasuredCell) -> xr.Dataset:
        """Return the area of the optimum and the excess entropy by split, NaN where they are not known exactly."""
        area, excess = np.full((2, len(cell.splits)), np.nan)
        optimum, rate_of = (getattr(cell.source, name, lambda *law: None) for name in ("optimum", "entropy_rate"))
        for place, split in enumerate(cell.splits):
            law = next((law for law in cell.laws[split] if law.name == cell.optimum[split]), None)
            exact = None if law is None else optimum(law.asked, law.topics, law.weights, cell.length)
            if law is None or exact is None:
                continue
            counted = slice(self._first - 1, None)
            curve = exact.values[counted][scored_positions(cell, split)[counted]]
            if len(curve):
                rate = rate_of(law.topics, law.weights)
                area[place] = (curve - curve[-1]).sum()
                excess[place] = np.nan if rate is None else (curve - rate.values[0]).sum()
        made = {"loss_area_optimum": ("split", area), "excess_entropy": ("split", excess)}
        return xr.Dataset(made, coords={"split": list(cell.splits)})

    def _late_less_early(self, loss: Tensor, mask: Tensor) -> Tensor:
        early = _window(self._config.early, mask, late=False)
        return mean_over(loss, self._late(mask)) - mean_over(loss, early)

    def _late(self, mask: Tensor) -> Tensor:
        return _window(self._config.late, mask, late=True)

    def _own(self, batch: ScoredBatch) -> Tensor | None:
        """Return which of the topics each sequence is of, bool (B, K); None where none is known, on fresh ones too."""
        if self._family is None:
            return None
        own = batch.topics.numbers[batch.topic][:, None] == self._family.topics.numbers
        return own if own.any() else None


def _window(given: tuple[int, ...], mask: Tensor, late: bool) -> Tensor:
    """Return the scored positions of a window, bool (B, T): the given ones, or a tenth of each sequence's."""
    if given:
        return since(mask, given[0]) & ~since(mask, given[1] + 1)
    return tenth(mask, late=late)


def _defined(floor: Tensor, mask: Tensor) -> Tensor:
    """Return a reference's loss, float64 (B, T), NaN throughout a sequence that it rules out somewhere."""
    return floor.where((floor.isfinite() | ~mask).all(1, keepdim=True), torch.nan)


def _area(loss: Tensor, mask: Tensor) -> Tensor:
    """Return sum_l (c_l - c_L) over scored positions, L the last of them, float64 (B,)."""
    valid = mask & ~loss.isnan()
    last = valid.shape[1] - 1 - valid.flip(1).int().argmax(1, keepdim=True)
    return sum_over(loss - loss.gather(1, last), valid)


def _told_apart(own: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Return each sequence's sum over positions in the column of its topic, NaN in the others, float64 (B, K)."""
    return torch.where(own, sum_over(values, mask)[:, None], torch.nan)
