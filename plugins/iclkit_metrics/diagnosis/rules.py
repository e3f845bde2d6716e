"""The signs of failure: each rule reads one cell, at its last step unless it is about training.

A rule speaks only of what is clear of sampling noise (more than 4 standard errors) and large enough to matter. The
failures are those of arXiv 2502.17024 and 2505.18373; the limits are this project's own.
"""

from collections.abc import Callable

import numpy as np
import xarray as xr

from iclkit.api import frozen

NEEDED = (
    *("loss", "loss_se", "floor", "excess", "excess_se", "excess_reference"),
    *("log_ratio", "log_ratio_se", "sequence_gap", "sequence_gap_se", "topic_gap", "topic_gap_se"),
    *("nearest", "icl_accuracy", "icl_accuracy_low", "reader_accuracy"),
)

_CLEAR = 4.0  # standard errors
_MATTERS = 0.03  # nats per token
_LOW = 0.02  # nats per token above the optimum that are as good as none
_SHARE = 0.25  # of a fall that is lost again, still missing, or all there is


@frozen(kw_only=True)
class Finding:
    """A sign, its evidence, what may help, and how bad it is compared with the same sign in other cells."""

    sign: str
    evidence: str
    advice: str
    weight: float


def accuracy_at_chance(cell: xr.Dataset) -> Finding | None:
    """Few-shot accuracy no better than the majority label, though the loss is low: topic structure is broken."""
    if "icl_accuracy" not in cell or "majority" not in cell.get("reader", xr.DataArray([])).values:
        return None
    accuracy, majority = _at_end(cell, "icl_accuracy"), cell["reader_accuracy"].sel(reader="majority")
    low, excess = _at_end(cell, "icl_accuracy_low"), _mean_excess(cell)
    shown = accuracy.isel(shots=slice(1, None)) if accuracy.sizes["shots"] > 1 else accuracy
    if excess is None or excess[0] > _LOW or not shown.notnull().any():
        return None
    if (low > majority).sel(shots=shown["shots"]).any():
        return None
    best = shown.stack(prompt=("example_length", "shots")).dropna("prompt")
    at = best.isel(prompt=int(best.argmax("prompt")))
    chance = majority.sel(example_length=at["example_length"], shots=at["shots"]).item()
    return Finding(
        sign="Accuracy at chance despite low loss",
        evidence=f"the best few-shot accuracy is {at.item():.2f}, the majority label reaches {chance:.2f}, and the "
        f"loss is {excess[0]:.2g} nat per token above the optimum",
        advice="The topics may carry no structure that prompts could use: check the source.",
        weight=chance - at.item(),
    )


def oscillating(cell: xr.Dataset) -> Finding | None:
    """The loss rises again and again during training."""
    split = next(name for name in ("train", "topics", *cell["split"].values) if name in cell["split"].values)
    curve = cell["loss"].sel(split=split).mean("position").dropna("step")
    error = cell["loss_se"].sel(split=split).mean("position").sel(step=curve["step"]) if "loss_se" in cell else 0.0
    if curve.sizes["step"] < 5:
        return None
    rise = np.diff(curve.values)
    clear = rise > np.maximum(_CLEAR * np.max(np.nan_to_num(error)), _MATTERS / 3)
    fall = curve.values[0] - curve.values.min()
    again = rise[clear].sum()
    if clear.sum() < 2 or again < _SHARE * fall:
        return None
    return Finding(
        sign="Oscillating loss",
        evidence=f"between snapshots the loss on {split} rose {clear.sum()} times, by {again:.2g} nat per token in "
        f"all, and fell by {fall:.2g} from the start to its least",
        advice="A smaller learning rate, or prior initialisation ([prior]), may steady it.",
        weight=again,
    )


def sequence_gap(cell: xr.Dataset) -> Finding | None:
    """The model is better on the sequences it was trained on than on new ones of the same topics."""
    return _gap(
        cell,
        "sequence_gap",
        "Large sequence gap",
        "new sequences of the known topics cost {:.2g} nat per token more than those it was trained on",
        "More sequences per topic (data.sequences, N) close it.",
    )


def topic_gap(cell: xr.Dataset) -> Finding | None:
    """The model is better on the topics it was trained on than on new ones."""
    return _gap(
        cell,
        "topic_gap",
        "Large topic gap",
        "new topics cost {:.2g} nat per token more than new sequences of the known ones",
        "More topics (data.topics, K) close it.",
    )


def below_the_optimum(cell: xr.Dataset) -> Finding | None:
    """The loss on fresh sequences is below what is possible: the model sees what it should predict."""
    if "log_ratio" not in cell or "floor" not in cell:
        return None
    for split in _fresh(cell):
        best = _optimum(cell, split)
        if best is None:
            continue
        floor = cell["floor"].sel(split=split)
        least = float((floor.sel(reference=best) - floor.sel(reference="oracle")).mean())
        ratio = _at_end(cell, "log_ratio").sel(split=split, first_position=1).item()
        error = _at_end(cell, "log_ratio_se").sel(split=split, first_position=1).item()
        under = least - ratio
        if under > max(_CLEAR * error, 1e-3):
            return Finding(
                sign="Loss below the optimum",
                evidence=f"on {split} the realised loss is {under:.2g} nat per token ({under / error:.0f} standard "
                f"errors) below the {best} optimum, which nothing can beat",
                advice="The model may see the token it predicts: check that it is causal.",
                weight=under,
            )
    return None


def on_a_plateau(cell: xr.Dataset) -> Finding | None:
    """The model predicts like a unigram or a bigram, far above an optimum that uses the context."""
    excess = _mean_excess(cell)
    if excess is None or excess[0] < max(_MATTERS, _CLEAR * excess[1]):
        return None
    value, _, split = excess
    named = ""
    if "nearest" in cell:
        named = str(_at_end(cell, "nearest").sel(split=split).item())
        if named not in ("uniform", "static-unigram", "static-bigram"):
            return None
    gained, possible = _context_gain(cell, split)
    if not named and (possible < _MATTERS or gained > _SHARE * possible):
        return None
    like = f"nearest to {named}, and " if named else ""
    return Finding(
        sign="No in-context learning yet",
        evidence=f"on {split} the model ends {like}{value:.2g} nat per token above the optimum; from position 2 to the "
        f"last its loss falls by {gained:.2g} nat, the optimum's by {possible:.2g}",
        advice="This is the plateau before the context is used: train longer.",
        weight=value,
    )


def context_too_short(cell: xr.Dataset) -> Finding | None:
    """Even the optimum does not know the topic at the end of the context."""
    if "floor" not in cell:
        return None
    for split in _fresh(cell):
        best = _optimum(cell, split)
        if best is None:
            continue
        floor = cell["floor"].sel(split=split)
        missing = (floor.sel(reference=best) - floor.sel(reference="oracle")).dropna("position").values
        if missing.size > 1 and missing[-1] > max(_MATTERS, 2 * _SHARE * missing.max()):
            return Finding(
                sign="Context shorter than the topics need",
                evidence=f"on {split} even the optimum is {missing[-1]:.2g} nat above what knows the topic at the last "
                f"position, and {missing.max():.2g} at most before",
                advice="Longer sequences (data.length, T) tell the topics apart.",
                weight=float(missing[-1]),
            )
    return None


RULES: tuple[Callable[[xr.Dataset], Finding | None], ...] = (
    below_the_optimum,
    accuracy_at_chance,
    on_a_plateau,
    oscillating,
    sequence_gap,
    topic_gap,
    context_too_short,
)


def _gap(cell: xr.Dataset, name: str, sign: str, evidence: str, advice: str) -> Finding | None:
    if name not in cell:
        return None
    gap, error = (_at_end(cell, part).sel(first_position=2).item() for part in (name, f"{name}_se"))
    if not gap > max(_MATTERS, _CLEAR * error):
        return None
    return Finding(sign=sign, evidence=f"{evidence.format(gap)} (±{error:.1g})", advice=advice, weight=gap)


def _at_end(cell: xr.Dataset, name: str) -> xr.DataArray:
    """Return a variable at the last step it was measured at (some metrics skip snapshots)."""
    known = cell[name].notnull() if cell[name].dtype.kind == "f" else cell[name] != ""
    steps = np.flatnonzero(known.any([dim for dim in known.dims if dim != "step"]).values)
    return cell[name].isel(step=int(steps[-1]) if len(steps) else -1)


def _mean_excess(cell: xr.Dataset) -> tuple[float, float, str] | None:
    """Return (mean over positions, a bound on its standard error, split) where there is an optimum for fresh data."""
    if "excess" not in cell:
        return None
    excess, error = _at_end(cell, "excess"), _at_end(cell, "excess_se")
    for split in _fresh(cell):
        if excess.sel(split=split).notnull().any():
            return float(excess.sel(split=split).mean()), float(error.sel(split=split).mean()), split
    return None


def _context_gain(cell: xr.Dataset, split: str) -> tuple[float, float]:
    """Return by how much the loss, and the optimum's, fall from position 2 to the last, nats."""
    curves = [_at_end(cell, "loss").sel(split=split)]
    best = _optimum(cell, split)
    curves.append(cell["floor"].sel(split=split, reference=best) if best else curves[0])
    falls = []
    for curve in curves:
        scored = curve.dropna("position")
        scored = scored.sel(position=scored["position"] >= 2)
        falls.append(float(scored[0] - scored[-1]) if scored.size > 1 else 0.0)
    return falls[0], falls[1]


def _fresh(cell: xr.Dataset) -> list[str]:
    """Return the splits of fresh sequences, the ensemble's own first."""
    return [name for name in ("sequences", "topics") if name in cell["split"].values]


def _optimum(cell: xr.Dataset, split: str) -> str | None:
    """Return the reference that is the optimum of a split, None without one or without an oracle beside it."""
    named = str(cell["excess_reference"].sel(split=split).item()) if "excess_reference" in cell else ""
    names = cell["reference"].values.tolist()
    return named if named in names and "oracle" in names and named != "oracle" else None
