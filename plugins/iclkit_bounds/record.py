"""The record of a certificate: what is claimed, on which ground, and what was checked. One JSON object."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import asdict, field, fields, frozen

ROLES = ("upper_bound", "lower_bound")
TARGETS = ("seq", "top", "tok", "position_block", "in_context_gain")
UNITS = ("sequence", "topic", "token")
SCOPES = ("high-prob", "expectation", "asymptotic", "heuristic")
DATA_USED = ("train-only", "holdout", "fresh")
OBJECTS = ("weights", "draw", "gibbs", "checkpoint-mixture")


def _one_of(*allowed: str) -> Any:
    def check(instance: Any, attribute: Any, value: str) -> None:
        if value not in allowed:
            raise ValueError(f"{attribute.name} must be one of {', '.join(allowed)}, not {value!r}")

    return check


def _sentences(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(given)


@frozen(kw_only=True)
class Certificate:
    """A bound on a loss (or a lower limit of one, or of a gain), with everything its reader has to trust.

    Parameters
    ----------
    estimator : name of the bound.
    role : "upper_bound" or "lower_bound".
    target : "seq" (fresh sequences of the topics at hand), "top" (fresh topics), "tok" (training prefixes),
        "position_block", "in_context_gain".
    unit, n_units : what is independent, and how many there were.
    value : nats per token.
    delta : probability of failure that is claimed.
    delta_ledger : how delta is spent, by source; it must not sum to more.
    checks : preconditions by name, such as split_disjoint, prior_frozen_before_eval, eval_untouched,
        units_independent, grid_declared, mc_error_included, kernel_exact, one_pass; True where it holds.
    reasons : for a check that failed, by name, one sentence on why.
    validity_scope : only "high-prob" can be valid.
    data_used : "train-only", "holdout" or "fresh" (newly simulated, no bound from training data).
    certified_object, object_hash : what the claim is about, and the digest of its weights.
    components : parts of the value: emp_loss, raw_emp_loss, range_B, smoothing {kind, a, cost, mean_model_weight},
        variance, complexity_nats, log_terms, mc_error; of real tokens excess, excess_by, fixed_scale.
    references : baseline (ln V, or the loss of the best context-free predictor for real tokens), bayes_lower {value,
        ci}, oracle, unigram, population_mc {value, se}.
    holdout : value of the plain held-out bound on the same units, nats per token; None where there is none.
    cost : forward_passes, extra_gradients, bytes.
    seeds, warnings : by stream; sentences.

    """

    estimator: str
    target: str = field(validator=_one_of(*TARGETS))
    unit: str = field(validator=_one_of(*UNITS))
    n_units: int
    value: float
    delta: float
    delta_ledger: Mapping[str, float]
    checks: Mapping[str, bool]
    data_used: str = field(validator=_one_of(*DATA_USED))
    certified_object: str = field(validator=_one_of(*OBJECTS))
    object_hash: str
    role: str = field(default="upper_bound", validator=_one_of(*ROLES))
    reasons: Mapping[str, str] = field(factory=dict)
    validity_scope: str = field(default="high-prob", validator=_one_of(*SCOPES))
    components: Mapping[str, Any] = field(factory=dict)
    references: Mapping[str, Any] = field(factory=dict)
    holdout: float | None = None
    cost: Mapping[str, float] = field(factory=dict)
    seeds: Mapping[str, int] = field(factory=dict)
    warnings: tuple[str, ...] = field(default=(), converter=_sentences)

    @property
    def why_invalid(self) -> dict[str, str]:
        """The reason for every precondition that does not hold, by name; empty for a valid certificate."""
        told = {name: self.reasons.get(name, "this precondition was not met") for name in self._failed()}
        if not 0 < self.delta < 1:
            told["delta"] = f"delta is {self.delta}, not between 0 and 1"
        spent = math.fsum(self.delta_ledger.values())
        if not self.delta_ledger or min(self.delta_ledger.values()) < 0 or spent > self.delta * (1 + 1e-9):
            told["delta_ledger"] = f"the ledger spends {spent:.6g} of a delta of {self.delta:.6g}"
        if self.validity_scope != "high-prob":
            told["validity_scope"] = f"{self.validity_scope}: no statement with high probability"
        if math.isnan(self.value):
            told["value"] = "the bound could not be computed"
        if not self.checks:
            told["checks"] = "no precondition was checked"
        return told

    def _failed(self) -> list[str]:
        return [name for name, holds in self.checks.items() if not holds]

    @property
    def valid(self) -> bool:
        """Whether every precondition holds and the ledger sums to at most delta."""
        return not self.why_invalid

    @property
    def confidence(self) -> float:
        """1 - delta."""
        return 1 - self.delta

    @property
    def share(self) -> float | None:
        """Certified share of the learnable gap, g = (baseline - value) / (baseline - bayes_lower); None if unknown."""
        baseline, bayes = self.references.get("baseline"), self.references.get("bayes_lower")
        lower = bayes.get("value") if isinstance(bayes, Mapping) else bayes
        if self.target == "in_context_gain" or baseline is None or lower is None or not baseline > lower:
            return None
        return (baseline - self.value) / (baseline - lower)

    @property
    def vacuous(self) -> bool | None:
        """Whether the value says nothing: an upper bound not below the baseline, a gain not above 0; None: unknown."""
        if self.role == "lower_bound":
            return self.value <= 0
        baseline = self.references.get("baseline")
        return None if baseline is None else not self.value < baseline

    @property
    def informative(self) -> bool | None:
        """Whether an upper bound certifies at least half of the learnable gap; None if unknown."""
        return None if self.share is None or self.role == "lower_bound" else self.share >= 0.5

    @property
    def gain_over_holdout(self) -> float | None:
        """How much lower than the plain held-out bound, nats per token; negative where that one is better."""
        return None if self.holdout is None else self.holdout - self.value

    def to_json(self) -> str:
        """Return one line of JSON: fields in their order, then what is derived from them; inf and nan as strings."""
        derived = {name: getattr(self, name) for name in _DERIVED}
        return json.dumps(_plain({**asdict(self), **derived}), allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Certificate":
        """Return the certificate that `to_json` wrote; ValueError where a derived value contradicts the fields."""
        entries = _numbers(json.loads(text))
        names = {attribute.name for attribute in fields(cls)}
        found = cls(**{name: value for name, value in entries.items() if name in names})
        for name in _DERIVED:
            if name in entries and _plain(entries[name]) != _plain(getattr(found, name)):
                raise ValueError(f"the record says {name} = {entries[name]!r}, its fields say {getattr(found, name)!r}")
        return found


_DERIVED = ("confidence", "valid", "why_invalid", "vacuous", "informative", "share", "gain_over_holdout")
_SPECIAL = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def _plain(value: Any) -> Any:
    """Return a value of JSON's own types, floats that JSON lacks as strings."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a number or array (one element) of numpy or torch
        value = value.item()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(value: Any) -> Any:
    """Undo the strings of `_plain`."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return _SPECIAL.get(value, value) if isinstance(value, str) else value
