"""What theory predicts of a source before anything is trained: the floors at every position and what follows.

Exact where the source can tell; otherwise the mean over sampled prefixes of the entropy of the reference's own
prediction (Rao-Blackwellised Monte Carlo), with its standard error. Formulas: arXiv 2505.18373.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from attrs import evolve, frozen
from numpy.typing import NDArray

from iclkit import plan
from iclkit.bigrams import Bigrams, estimate_bigrams, exact_bigrams
from iclkit.config import Config
from iclkit.data import TrainingSequences
from iclkit.errors import ConfigError, UsageError
from iclkit.plugins import Plugins
from iclkit.predictors import Memo, entropy
from iclkit.protocols import Exact
from iclkit.references import Law, References
from iclkit.spaces import Categorical
from iclkit.specs import Component
from iclkit.splits import Split, chunk_rows, splits
from iclkit.strict import Problems, Structurer, below

Array = NDArray[np.float64]

_FIRST = 512  # sequences of the first draw
_LAST = 1 << 16  # sequences at most


@frozen(kw_only=True, eq=False)
class Curve:
    """A quantity by position: values and errors, float64 (L,), and how each was computed."""

    values: Array
    error: Array
    method: str


def explain(config: Config, tolerance: float = 1e-3) -> xr.Dataset:
    """Return what theory predicts for a config's source and data, up to position `config.evaluation_length`.

    Nats throughout, at the positions that are scored. The variables, each with the attributes `method` and `error`
    (a bound, or a standard error for monte-carlo; by position where the variable is):

    floor(reference, position) : least expected loss of each reference on its own law.
    myopic_entropy(position) : h_l, the floor of the best reference that is not told the topic.
    block_entropy(position) : H(l) = h_1 + .. + h_l.
    entropy_rate : the mean entropy rate of the topics.
    excess_entropy : sum of h_l - entropy rate up to the last position.
    predicted_icl(reference) : h_1 - h_L.
    plateaus(predictor) : losses of the predictors a model passes on its way: uniform, unigram, bigram, optimal.
    topics_identified_at(share) : tokens until the mean entropy of the posterior over topics falls to this share.

    `tolerance` is the standard error to reach where sampling is needed. Raises UsageError where the source has no
    exact reference at all.
    """
    _refuse_without_references(config.source)
    source = config.source.build()
    training = TrainingSequences(config, source)
    references = References(config, source, training)
    split = next(split for split in splits(config, source, training) if split.name == _law_split(config))
    scored = split.chunk(slice(0, 16)).mask.any(0).numpy()  # inputs that are given, not predicted, have no loss
    laws = {law.name: law for law in references.laws(split.name)}
    curves = {name: _curve(config, source, references, law, split, scored, tolerance) for name, law in laws.items()}
    best = curves.get(split.optimum or "") or curves["oracle"]
    data = xr.Dataset(coords={"position": 1 + np.flatnonzero(scored)})
    data = _with(data, "floor", ("reference", "position"), _stack(curves, "values"), _stack(curves, "error"), curves)
    data = data.assign_coords(reference=list(curves))
    data = _with(data, "myopic_entropy", ("position",), best.values, best.error, best.method)
    data = _with(data, "block_entropy", ("position",), best.values.cumsum(), best.error.cumsum(), best.method)
    rate = _entropy_rate(source, laws, curves)
    data = _with(data, "entropy_rate", (), rate.values, rate.error, rate.method)
    above = best.values - rate.values
    data = _with(data, "excess_entropy", (), above.sum(), best.error.sum() + len(above) * rate.error, best.method)
    drop = _stack(curves, "values")[:, [0, -1]] @ [1, -1]
    spread = _stack(curves, "error")[:, [0, -1]].sum(1)
    data = _with(data, "predicted_icl", ("reference",), drop, spread, curves)
    data = _plateaus(data, config, source, split, best, laws)
    data = _identified(data, curves, best, laws)
    data.attrs = {"source": config.source.kind, "topics": str(config.data.topics), "units": "nat"}
    return data


def source_config(table: Mapping[str, Any], length: int, topics: int | None, plugins: Plugins) -> Config:
    """Return the config of a source alone, of `topics` known topics or of fresh ones.

    Raises ConfigError with every problem of its table, UsageError where it has no exact reference.
    """
    try:
        component = Structurer(plugins.registry, Path.cwd()).component("source", table)
    except Problems as found:
        raise ConfigError(below("source", found.problems)) from None
    _refuse_without_references(component)
    data = {"length": length} | ({"topics": topics} if topics else {})
    return plan.load(None, {"source": table, "data": data}, plugins).cells[0].config


def _refuse_without_references(source: Component) -> None:
    if not source.facts.references:
        raise UsageError(f"{source.kind} has no exact reference, so there is no theory of it to tell")


def _law_split(config: Config) -> str:
    return "topics" if config.data.topics == "fresh" else "sequences"


def _with(data: xr.Dataset, name: str, dims: tuple[str, ...], values: Any, error: Any, method: Any) -> xr.Dataset:
    """Add a variable and its error; `method` is text, or curves by reference."""
    text = method if isinstance(method, str) else ", ".join(f"{key}: {curve.method}" for key, curve in method.items())
    return data.assign(
        {name: (dims, np.asarray(values), {"units": "nat", "method": text}), f"{name}_error": (dims, np.asarray(error))}
    )


def _stack(curves: dict[str, Curve], part: str) -> Array:
    return np.stack([getattr(curve, part) for curve in curves.values()])


def _curve(
    config: Config, source: Any, references: References, law: Law, split: Split, scored: Any, tolerance: float
) -> Curve:
    """Return a reference's floor: exact as far as the source tells, sampled from there on."""
    ask = getattr(source, "optimum", lambda *law: None)
    length = config.evaluation_length
    exact: Exact | None = ask(law.asked, law.topics, law.weights, length)
    if exact is None:
        exact = Exact(values=np.full(length, np.nan), method="", error=np.full(length, np.nan))
    missing = np.isnan(exact.values) & scored
    values, error, method = exact.values, exact.error, exact.method
    if missing.any():
        mean, spread = _sampled(config, source, references, law.name, split.name, tolerance, missing)
        values, error = np.where(missing, mean, values), np.where(missing, spread, error)
        method = "monte-carlo" if missing[scored].all() else f"{method} then monte-carlo"
    return Curve(values=values[scored], error=error[scored], method=method)


def _sampled(
    config: Config, source: Any, references: References, name: str, split_name: str, tolerance: float, missing: Any
) -> tuple[Array, Array]:
    """Average the entropy of a reference's prediction over sampled prefixes until the error is within tolerance."""
    count = _FIRST
    while True:
        split = _sized(config, source, split_name, count)
        reducer = split.reducer()
        for rows in chunk_rows(len(split), config.evaluation_length):
            batch = split.chunk(rows)
            predictor = Memo(references.predictors[name])
            distribution = predictor.distribution(batch)
            values = -predictor.log_prob(batch) if distribution is None else entropy(distribution)
            reducer.add(values.numpy(), split.groups[rows].numpy())
        mean, error, _ = reducer.result()
        if error[missing].max() <= tolerance or count >= _LAST:
            return mean, error
        count = min(_LAST, max(2 * count, int(count * (error[missing].max() / tolerance) ** 2 * 1.1)))


def _entropy_rate(source: Any, laws: dict[str, Law], curves: dict[str, Curve]) -> Curve:
    """Return the topics' mean entropy rate, as the source tells, else bounded above by the oracle's last floor."""
    ask = getattr(source, "entropy_rate", None)
    law, oracle = laws["oracle"], curves["oracle"]
    exact = ask(law.topics, law.weights) if ask else None
    if exact is not None:
        return Curve(values=exact.values[0], error=exact.error[0], method=exact.method)
    fall = abs(oracle.values[-1] - oracle.values[len(oracle.values) // 2])
    return Curve(
        values=oracle.values[-1], error=oracle.error[-1] + fall, method=f"{oracle.method}, at the last position"
    )


def _plateaus(
    data: xr.Dataset, config: Config, source: Any, split: Split, best: Curve, laws: Mapping[str, Law]
) -> xr.Dataset:
    """Add the losses of the predictors a model passes on its way: uniform, unigram, bigram, optimal (h_L).

    The static unigram and bigram know the distribution of a token, and of a token given the one before; of a
    stationary source they cost h_1 and h_2 (arXiv 2505.18373, 4.3).
    """
    facts = config.source.facts
    if not isinstance(facts.space, Categorical) or config.evaluation_length < 2:
        return data
    if facts.stationary:
        statics, methods = [(best.values[place], best.error[place]) for place in (0, 1)], best.method
    else:
        statics, methods = _statics(config, source, split, laws["oracle"], facts.space.size)
    values = [np.log(facts.space.size), statics[0][0], statics[1][0], best.values[-1]]
    errors = [0.0, statics[0][1], statics[1][1], best.error[-1]]
    method = f"uniform: closed-form, unigram: {methods}, bigram: {methods}, optimal: {best.method}"
    names = ["uniform", "unigram", "bigram", "optimal"]
    return _with(data.assign_coords(predictor=names), "plateaus", ("predictor",), values, errors, method)


def _statics(config: Config, source: Any, split: Split, law: Law, size: int) -> tuple[list[tuple[float, float]], str]:
    """Return the losses of the static unigram and bigram over all positions, (value, error) each, and the method."""
    exact = None if law.topics is None else exact_bigrams(source, law.topics, config.evaluation_length)
    if exact is not None and law.weights is not None:
        return [(value, 0.0) for value in _losses(exact.mean(law.weights))], "closed-form"
    sized = _sized(config, source, split.name, 4 * _FIRST)
    length = config.evaluation_length
    rows = chunk_rows(len(sized), length, tokens=min(4096, _FIRST * length))  # two chunks and more: one for each half
    halves = [estimate_bigrams((sized.chunk(each) for each in rows[half::2]), size, source.oracle()) for half in (0, 1)]
    both = [_losses(half) for half in halves]
    return [((one + other) / 2, abs(one - other) / 2) for one, other in zip(*both, strict=True)], "monte-carlo"


def _sized(config: Config, source: Any, split_name: str, count: int) -> Split:
    """Return a split with so many sequences, each of a topic of its own where topics are fresh."""
    sized = evolve(config, evaluation=evolve(config.evaluation, sequences=count, topics=None))
    return next(one for one in splits(sized, source, TrainingSequences(sized, source)) if one.name == split_name)


def _losses(marginals: Bigrams) -> tuple[float, float]:
    """Return the losses of one law's unigram and bigram predictor, nats: the entropies of a token, given and not."""
    pairs = marginals.pairs[0]
    conditional = torch.special.entr(pairs).sum() - torch.special.entr(pairs.sum(1)).sum()
    return float(torch.special.entr(marginals.unigram[0]).sum()), float(conditional)


def _identified(data: xr.Dataset, curves: dict[str, Curve], best: Curve, laws: dict[str, Law]) -> xr.Dataset:
    """Add how many tokens it takes to know the topic.

    The posterior's mean entropy after l tokens is H[W] - I(W; X_1 .. X_l), with the information the sum of the
    floors' differences; for finitely many topics only.
    """
    weights = laws["oracle"].weights
    if weights is None or len(weights) < 2 or best is curves["oracle"]:
        return data
    start = float(torch.special.entr(weights / weights.sum()).sum())
    left = start - (best.values - curves["oracle"].values).cumsum()
    tokens = [
        float(np.argmax(left <= share * start)) + 1 if (left <= share * start).any() else np.nan
        for share in (0.5, 0.01)
    ]
    data = data.assign_coords(share=[0.5, 0.01])
    data["topic_entropy"] = (
        "position",
        left,
        {"units": "nat", "long_name": "posterior entropy after this many tokens"},
    )
    made = _with(data, "topics_identified_at", ("share",), tokens, [0.0, 0.0], best.method)
    made["topics_identified_at"].attrs["units"] = "1"
    return made


def as_json(data: xr.Dataset) -> dict[str, Any]:
    """Return plain numbers and lists, with `method` and `error` keyed by quantity; NaN is null."""
    plain: dict[str, Any] = {"source": data.attrs["source"], "topics": data.attrs["topics"], "units": "nat"}
    method, error = {}, {}
    for name in data.data_vars:
        if f"{name}_error" not in data:
            continue
        plain[str(name)] = _plain(data[name])
        method[str(name)] = data[name].attrs["method"]
        error[str(name)] = _plain(data[f"{name}_error"])
    return plain | {"method": method, "error": error}


def _plain(array: xr.DataArray) -> Any:
    """Return a number, a list, or for named entries a dict of those."""
    if array.ndim and array.dims[0] != "position":
        keys = [str(key) for key in array[array.dims[0]].values.tolist()]
        return dict(zip(keys, (_plain(array[i]) for i in range(len(keys))), strict=True))
    values = array.values.tolist()
    if isinstance(values, list):
        return [None if value != value else value for value in values]
    return None if values != values else values
