"""The power law by which the in-context loss falls to the topics' entropy rate."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from iclkit.api import Exact, Listed, MeasuredCell, NotApplicable, ScoredBatch, entropy
from iclkit_metrics.dims import STEP_SPLIT
from iclkit_metrics.expected_loss import above, expected_loss
from iclkit_metrics.power_law.fit import PowerLaw as Fitted
from iclkit_metrics.power_law.fit import default_range, fit, power_law
from iclkit_metrics.scored_positions import mean_over, tenth

_ENDS = ("low", "high")
_TO_PREDICT = 8  # positions, half of which predict the others


class PowerLaw:
    """A power law c l^-a fitted to y_l = c_l - mean entropy rate of the topics, on a declared range.

    y_l is measured as E D_KL(oracle, model) at position l plus h_l - h of the oracle, which has little noise: exactly
    where the source tells both, else from the oracle's entropy on the same sequence, h being its mean over the last
    tenth. ln y is fitted on ln l by least squares weighted by the standard errors. arXiv 2505.18373 (section 2.3):
    the optimum of a smooth family of k parameters has y_l ~ k / (2 l), but far from it at small l, so compare with
    the optimum's curve in the same fit: `power_law_optimum_exponent` and `_coefficient`.

    Intervals are basic bootstrap intervals from Poisson(1) weights of the units that were sampled: topics where they
    are fresh, else sequences (for these the interval is too wide rather than too narrow where topics differ much).
    Weights are a function of a unit's address, so that memory does not grow with their number.
    """

    def __init__(self, config: Any):
        self._config = config
        self._rates: dict[str, float] = {}  # h, the topics' mean entropy rate, by split where it is known exactly
        self._approach: dict[str, Tensor] = {}  # h_l - h of the oracle, (T,), by split where both are
        self.coords: dict[str, Any] = {}

    def begin(self, cell: MeasuredCell) -> None:
        """Lay out the range; raises NotApplicable without an oracle, and where the range is too short."""
        if not any("oracle" in cell.references[split] for split in cell.splits):
            raise NotApplicable("the source has no oracle, so the entropy rate that the loss falls to is not known")
        first, last = self._config.first, self._config.last or int(default_range(cell.length)[1])
        inside = np.arange(first, min(last, cell.length) + 1)
        if len(inside) < 3:
            text = f"the range {first} .. {last} has {len(inside)} positions of {cell.length}, a power law needs 3"
            raise NotApplicable(f"{text}; set `first` and `last`, or use longer sequences")
        spread = np.geomspace(inside[0], inside[-1], self._config.positions).round().astype(int)
        self._positions = np.unique(spread) if len(inside) > self._config.positions else inside
        self._columns = torch.from_numpy(self._positions - 1)
        self.coords = {"fit_position": self._positions.tolist(), "replicate": list(range(self._config.replicates))}
        self._key = cell.key.fold("bootstrap")
        listed = isinstance(cell.facts.topics, Listed)
        self._by_topic = {split: not listed and (split == "topics" or cell.known is None) for split in cell.splits}
        for split in cell.splits:
            law = _oracle(cell, split)
            rate = None if law is None else _rate(cell, law)
            if rate is not None:
                self._rates[split] = rate
                curve = _ask(cell, law)
                if curve is not None:
                    self._approach[split] = torch.from_numpy(curve.values - rate)

    def score(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return y, float64 (B, T), and its bootstrap copies, (B, R, P), with their weights (B, R)."""
        regret, _ = above(batch, batch.references["oracle"])
        curve = torch.where(batch.mask, regret + self._above_rate(batch), torch.nan)
        weights = self._weights(batch)
        resampled = weights[:, :, None] * curve[:, None, self._columns]
        return {"power_law_curve": curve, "power_law_resampled": resampled, "power_law_weight": weights}

    def score_references(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return y of the split's optimum, float64 (B, T)."""
        if batch.optimum is None:
            return {}
        losses = [expected_loss(batch, batch.references[name]) for name in (batch.optimum, "oracle")]
        return {"power_law_floor": losses[0] - losses[1] + self._above_rate(batch)}

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Fit every snapshot's curve on every split, and the optimum's with it."""
        optima = np.stack([self._optimum(cell, split) for split in cell.splits])
        made = {
            name: xr.DataArray(np.full((len(cell.steps), len(cell.splits), *tail), np.nan), dims=(*STEP_SPLIT, *dims))
            for name, tail, dims in (
                *((name, (), ()) for name in _NUMBERS),
                *((f"{name}_interval", (2,), ("end",)) for name in ("exponent", "coefficient")),
            )
        }
        for split, name in enumerate(cell.splits):
            optimum = optima[split]
            if np.isnan(optimum).all() and "power_law_floor" in cell.data:
                optimum = cell.data["power_law_floor"].sel(split=name).values
            for step, at in enumerate(cell.steps):
                found = self._fitted(cell.data.sel(step=at, split=name))
                for key, value in ({} if found is None else self._numbers(found, optimum, cell, at, name)).items():
                    made[key][step, split] = value
        data = xr.Dataset({f"power_law_{key}": value for key, value in made.items()})
        data["power_law_optimum"] = (("split", "position"), optima)
        coords = {"step": list(cell.steps), "split": list(cell.splits), "end": list(_ENDS)}
        return data.assign_coords(coords | {"position": np.arange(1, cell.length + 1)})

    def _above_rate(self, batch: ScoredBatch) -> Tensor:
        """Return h_l - h of the oracle, (T,) or (B, T)."""
        if batch.split in self._approach:
            return self._approach[batch.split]
        oracle = batch.references["oracle"]
        law = oracle.distribution(batch)
        level = -oracle.log_prob(batch) if law is None else entropy(law)
        return level - mean_over(level, tenth(batch.mask, late=True))[:, None]

    def _weights(self, batch: ScoredBatch) -> Tensor:
        """Return Poisson(1) draws, float64 (B, R), a function of the address of each sampled unit."""
        key = self._key.fold(batch.topics.numbers[batch.topic])
        if not self._by_topic[batch.split]:
            key = key.fold(batch.number)
        return torch.searchsorted(_POISSON, key.uniform(self._config.replicates), right=True).double()

    def _fitted(self, data: xr.Dataset) -> Fitted | None:
        """Fit one curve; None where fewer than 3 of its positions are positive."""
        picked = data[["power_law_curve", "power_law_curve_se"]].sel(position=self._positions)
        resampled = data["power_law_resampled"] / data["power_law_weight"]
        try:
            return power_law(
                self._positions,
                picked["power_law_curve"].values,
                picked["power_law_curve_se"].values,
                resampled=resampled.transpose("replicate", "fit_position").values,
                bounds=(self._positions[0], self._positions[-1]),
                level=self._config.level,
            )
        except ValueError:
            return None

    def _numbers(self, found: Fitted, optimum: np.ndarray, cell: MeasuredCell, step: int, split: str) -> dict[str, Any]:
        """Return what is stored of a fit, beside the optimum's curve (T,) at the same positions and weights."""
        best, exponent, coefficient = optimum[found.positions - 1], np.array(np.nan), np.array(np.nan)
        if (best > 0).all():
            exponent, coefficient = fit(found.positions.astype(np.float64), best, found.weights)
        numbers: dict[str, Any] = {
            "exponent": found.exponent,
            "exponent_interval": np.array(found.exponent_interval),
            "coefficient": found.coefficient,
            "coefficient_interval": np.array(found.coefficient_interval),
            "optimum_exponent": exponent,
            "optimum_coefficient": coefficient,
            "positions": len(found.positions),
        }
        if len(found.positions) >= _TO_PREDICT:
            numbers |= {"advantage": found.advantage, "preferred": found.preferred}
        if self._config.parameters is not None:
            curve = cell.data["power_law_curve"].sel(step=step, split=split, position=found.positions).values
            numbers["ratio"] = np.exp(np.log(curve * 2 * found.positions / self._config.parameters).mean())
        return numbers

    def _optimum(self, cell: MeasuredCell, split: str) -> np.ndarray:
        """Return the exact y of a split's optimum on its own law, (T,); NaN where it is not known."""
        exact = next((_ask(cell, law) for law in cell.laws[split] if law.name == cell.optimum[split]), None)
        if exact is None or split not in self._rates:
            return np.full(cell.length, np.nan)
        return exact.values - self._rates[split]


_NUMBERS = (
    "exponent",
    "coefficient",
    "optimum_exponent",
    "optimum_coefficient",
    "advantage",
    "preferred",
    "positions",
    "ratio",
)
_POISSON = (1 / torch.tensor([1, 1, *range(2, 20)], dtype=torch.float64).cumprod(0)).cumsum(0) / math.e  # its CDF


def _oracle(cell: MeasuredCell, split: str) -> Any:
    """Return the oracle's law on a split's topics; None without one."""
    laws = cell.laws[split] or cell.laws["topics" if cell.known is None else "sequences"]  # train has none of its own
    return next((law for law in laws if law.name == "oracle"), None)


def _rate(cell: MeasuredCell, law: Any) -> float | None:
    """Return the exact mean entropy rate of a law's topics, nats per token; None where it is not known."""
    rate: Exact | None = getattr(cell.source, "entropy_rate", lambda *law: None)(law.topics, law.weights)
    return None if rate is None else float(rate.values[0])


def _ask(cell: MeasuredCell, law: Any) -> Exact | None:
    """Return the exact floor of a reference on its own law; None where it is not known."""
    return getattr(cell.source, "optimum", lambda *law: None)(law.asked, law.topics, law.weights, cell.length)
