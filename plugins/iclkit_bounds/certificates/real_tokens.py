"""Real tokens: what makes their losses bounded, chosen from the source and fresh simulation alone; see `clipping`."""

import math
from typing import Any

import numpy as np
import torch
from attrs import frozen

from iclkit.api import MeasuredCell, NotApplicable, Real
from iclkit_bounds.certificates.configs import HoldoutConfig
from iclkit_bounds.certificates.evidence import Evidence, by_unit, family_of, measured, scored
from iclkit_bounds.certificates.references import Sums, measured_references
from iclkit_bounds.certificates.targets import Target
from iclkit_bounds.clipping import Spread, clipped_mix, log_density, sampled_excess
from iclkit_bounds.smoothing import Smoothed
from iclkit_bounds.units import Array

_SAMPLED_SHARE = 0.1  # of delta, for an excess that is measured
_FEWEST = 20  # fresh sequences
NOT_BOUNDED = (
    "the source gives no bound on how its tokens spread about this target, so how much was clipped off is known from "
    "fresh simulation only, which says nothing of what is rarer"
)


@frozen(kw_only=True)
class Clip:
    """The fixed density q = N(0, scale^2 I), where losses are clipped, and what that leaves out.

    Parameters
    ----------
    length, count : scored positions T of a sequence, and real numbers in them.
    scale : standard deviation of q.
    weight : a, of q in the mixture.
    upper : B, nats per token.
    excess : limit of the expected loss beyond B, nats per token.
    delta : probability with which that limit may fail.
    certain : whether it is proved; else it is measured.

    """

    length: int
    count: int
    scale: float
    weight: float
    upper: float
    excess: float
    delta: float
    certain: bool

    def mix(self, cell: MeasuredCell, split: str, sums: Array, upper: float | None = None) -> Smoothed:
        """Return the losses of a split's sequences under the mixture of a model and q, clipped at B or `upper`.

        `sums` (n,): log-densities of the sequences under the model.
        """
        fixed = log_density(squares(cell, split), self.count, self.scale)
        return clipped_mix(sums, fixed, self.length, self.upper if upper is None else upper, self.weight)

    @property
    def components(self) -> dict[str, Any]:
        """The parts of a value that are its own."""
        names = ("excess", "fixed_scale", "excess_by")
        return dict(zip(names, (self.excess, self.scale, "proof" if self.certain else "simulation"), strict=True))


def clip_for(cell: MeasuredCell, target: Target, length: int, units: int, config: HoldoutConfig) -> Clip:
    """Return the clip of a target, a function of the source, of fresh data and of how many units are held out.

    q has the mean square that the source gives, B is the best for so many units (`Spread.clip_level`), unless the
    config says otherwise. Raises NotApplicable where the source gives no spread and there are no fresh data.
    """
    count = length * channels(cell)
    rate = min(math.log(1 / config.delta) / units, 0.5)
    known = _spread(cell, target)
    if known is None:
        return _simulated(cell, target, length, count, rate, config)
    trace, largest = known
    scale = config.fixed_scale or math.sqrt(trace.mean() / count)
    spread = Spread(trace=trace, largest=largest, count=count, scale=scale, length=length, weight=config.smoothing)
    upper = spread.clip_level(rate) if config.clip is None else config.clip
    return Clip(
        length=length,
        count=count,
        scale=scale,
        weight=config.smoothing,
        upper=upper,
        excess=spread.excess(upper),
        delta=0.0,
        certain=True,
    )


def clipped_evidence(cell: MeasuredCell, target: Target, step: int, clip: Clip) -> Evidence:
    """Return the clipped losses of the held-out units."""
    table = cell.log_probs(target.held, step)
    sums = scored(table).sum(1)
    mixed = clip.mix(cell, target.held, sums)
    units = by_unit(mixed.losses, table, target)
    return Evidence(
        units=units,
        smoothed=mixed,
        raw=-float(sums.mean() / clip.length),
        blocks=np.zeros((len(units), 0)),
        block_upper=np.zeros(0),
        kind="clipped_mix",
    )


def clipped_references(cell: MeasuredCell, target: Target, clip: Clip, sums: Sums) -> dict[str, Any]:
    """Return what the certificate stands between; the baseline is the best i.i.d. N(0, s^2 I) on the fresh data."""
    if target.fresh not in cell.splits:
        return {}
    table = cell.log_probs(target.fresh, cell.steps[-1])
    square, _ = measured(squares(cell, target.fresh) / clip.count, table, target, cell)
    baseline = clip.count / clip.length * (1 + math.log(2 * math.pi * square)) / 2
    return {"baseline": baseline} | measured_references(
        cell, target, lambda split: clip.mix(cell, split, sums(split), math.inf).losses
    )


def channels(cell: MeasuredCell) -> int:
    """Return how many channels of a real token are predicted."""
    assert isinstance(cell.facts.space, Real)
    return cell.facts.space.scored


def squares(cell: MeasuredCell, split: str) -> Array:
    """Return |x|^2 of all scored numbers of each sequence of a split, float64 (n,)."""
    there = ~cell.log_probs(split, cell.steps[-1]).values.isnan()  # without a begin token position 1 is not
    each = [batch.tokens[..., : channels(cell)].double().square().sum(-1).cpu() for batch in cell.batches(split)]
    return torch.where(there, torch.cat(each), 0.0).sum(1).numpy()


def _spread(cell: MeasuredCell, target: Target) -> tuple[Array, Array] | None:
    """Return bounds of trace and largest eigenvalue, by topic; None where the source has none."""
    ask = getattr(cell.source, "spread", None)
    family = family_of(cell, target)
    found = None if ask is None else ask(None if family is None else family.topics, cell.length)
    if found is None or not all(bool(part.isfinite().all()) for part in found):
        return None
    trace, largest = (part.double().cpu().numpy() for part in found)
    return trace, largest


def _simulated(cell: MeasuredCell, target: Target, length: int, count: int, rate: float, config: HoldoutConfig) -> Clip:
    """Return a clip from the target's fresh split: chosen on one half of it, its excess measured on the other."""
    if target.fresh not in cell.splits:
        raise NotApplicable("neither a bound on how tokens spread nor fresh data of the target to simulate from")
    found = squares(cell, target.fresh)
    if target.unit == "topic":  # one sequence of each, so that they are independent
        found = found[np.unique(cell.log_probs(target.fresh, cell.steps[-1]).topic.numpy(), return_index=True)[1]]
    if len(found) < _FEWEST:
        raise NotApplicable(
            f"{len(found)} fresh {target.unit}s are too few to choose where to clip; raise evaluation.sequences or "
            f"evaluation.topics to {_FEWEST} or more, or leave {target.about} out of the targets"
        )
    scale = config.fixed_scale or math.sqrt(found[::2].mean() / count)
    fixed = log_density(found, count, scale)
    losses = (math.log(1 / config.smoothing) - fixed[::2]) / length
    upper = float(np.quantile(losses, 1 - rate)) if config.clip is None else config.clip
    ceiling = max(losses.max() - upper, 0.0) + losses.max() - losses.mean()
    delta = _SAMPLED_SHARE * config.delta
    return Clip(
        length=length,
        count=count,
        scale=scale,
        weight=config.smoothing,
        upper=upper,
        excess=float(sampled_excess(fixed[1::2], length, upper, ceiling, 0.0, delta, config.smoothing)),
        delta=delta,
        certain=False,
    )
