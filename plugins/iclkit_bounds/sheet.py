"""The certificate sheet: a record in words."""

import textwrap
from collections.abc import Iterator

from iclkit_bounds.record import Certificate

_ABOUT = {
    "seq": "fresh sequences of the training topics",
    "top": "fresh sequences of fresh topics",
    "tok": "the prefixes of the training sequences",
    "position_block": "a block of positions",
    "in_context_gain": "the gain in context",
}
_OVER = {
    "holdout": "the draw of the held-out {units}",
    "train-only": "the draw of the training {units}",
    "fresh": "{units} newly drawn from the source, which are not training data",
}
_OBJECT = {
    "weights": "the last snapshot",
    "draw": "one set of weights drawn around the prior's",
    "gibbs": "the average over weights drawn around the prior's",
    "checkpoint-mixture": "the mixture of the scored snapshots",
}
_WIDTH = 100


def sheet(certificate: Certificate) -> str:
    """Return what a certificate says, whether to trust it, and what it stands on; lines of text."""
    return "\n".join(_lines(certificate))


def _lines(made: Certificate) -> Iterator[str]:
    units = f"{made.n_units} {made.unit}{'s' if made.n_units != 1 else ''}"
    yield f"{made.estimator}: {_ABOUT[made.target]}"
    side = "at most" if made.role == "upper_bound" else "at least"
    over = _OVER[made.data_used].format(units=f"{units}")
    yield from _wrapped(
        f"With probability at least {made.confidence:.3g} over {over}, {_OBJECT[made.certified_object]}, made safe as "
        f"told below, has a mean loss there of {side} {made.value:.4f} nat per token."
    )
    if made.valid:
        yield "  VALID: every precondition was met."
    else:
        yield "  NOT VALID, so this is no more than a number:"
        for name, reason in made.why_invalid.items():
            yield from _wrapped(f"{name.replace('_', ' ')}: {reason}", indent="    ")
    yield from _where_it_stands(made)
    yield from _wrapped(_verdict(made))
    yield from _ground(made)


def _where_it_stands(made: Certificate) -> Iterator[str]:
    """Yield the numbers that the value stands among, smallest first, with intervals of 95 %."""
    known = made.references
    rows = [("certificate", made.value, None)]
    if isinstance(found := known.get("bayes_lower"), dict):
        rows.append(("exact optimum", found["value"], found["ci"]))
    if isinstance(found := known.get("population_mc"), dict):
        rows.append(("measured on fresh data", found["value"], 1.96 * found["se"]))
    if known.get("baseline") is not None:
        rows.append(("knowing nothing", known["baseline"], None))
    for name, value, error in sorted(rows, key=lambda row: row[1]):
        told = "" if error is None else f"  +- {error:.4f}"
        yield f"    {name + ' ':.<28} {value:.4f}{told}"


def _verdict(made: Certificate) -> str:
    if made.role == "lower_bound":
        return "No model can have a smaller loss there." if made.valid else ""
    if made.vacuous is None:
        return "How much that says cannot be told: no baseline is known."
    if made.vacuous:
        return "It says nothing: a predictor that knows only the vocabulary is certain to do as well."
    if made.share is None:
        return "It says more than a predictor that knows only the vocabulary; the exact optimum is not known here."
    how = "informative" if made.informative else "weak"
    return f"It certifies {made.share:.0%} of what there is to learn, between knowing nothing and the optimum: {how}."


def _ground(made: Certificate) -> Iterator[str]:
    """Yield what the certificate stands on."""
    parts = made.components
    if isinstance(mix := parts.get("smoothing"), dict):
        weight, trust = mix.get("a"), mix.get("mean_model_weight")
        text = f"made safe: {mix.get('kind')} with weight {weight:.3g} on the uniform predictor"
        if mix.get("cost") is not None:
            text += f", at a cost of at most {mix['cost']:.4f} nat per token"
        if trust is not None:
            text += f"; at a sequence's end the model keeps {trust:.0%} of the weight on average"
            text += " (the certificate is about the uniform predictor)" if trust < 0.5 else ""
        yield from _wrapped(text + ".")
    if parts.get("complexity_nats") is not None:
        yield f"  paid for having seen these data: {parts['complexity_nats']:.4g} nat in all."
    if (gain := made.gain_over_holdout) is not None and made.estimator != "holdout":
        yield f"  against the plain held-out bound on the same units: {gain:+.4f} nat per token (positive is better)."
    held = [name.replace("_", " ") for name, holds in made.checks.items() if holds]
    yield from _wrapped(f"checked: {', '.join(held) or 'nothing'}.")
    spent = ", ".join(f"{value:.4g} for {name}" for name, value in made.delta_ledger.items())
    yield from _wrapped(
        f"probability of failure: {spent}; {made.delta:.4g} in all. Several certificates at once fail with at most the "
        "sum of theirs."
    )
    yield f"  weights: {made.object_hash}"
    for warning in made.warnings:
        yield from _wrapped(f"warning: {warning}")


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
