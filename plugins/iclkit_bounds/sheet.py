"""The certificate sheet: a record in words."""

import math
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
    "holdout": "the draw of the {count} held-out {units}",
    "train-only": "the draw of the {count} training {units}",
    "fresh": "{count} {units} newly drawn from the source, which are not training data",
}
_OBJECT = {
    "weights": "the last snapshot",
    "draw": "one set of weights drawn between the prior's and the trained ones",
    "gibbs": "the average over weights drawn around the trained ones",
    "checkpoint-mixture": "the mixture of the scored snapshots",
}
_QUANTISED = ("compression", "token-bound")  # their weights are the snapshot's on a grid
_WIDTH = 100


def sheet(certificate: Certificate, title: str = "") -> str:
    """Return what a certificate says, whether to trust it, and what it stands on; lines of text.

    `title` tells it from others of its estimator; the estimator's name if empty.
    """
    return "\n".join(_lines(certificate, title or certificate.estimator))


def _lines(made: Certificate, title: str) -> Iterator[str]:
    yield f"{title}: {_ABOUT[made.target]}"
    units = made.unit if made.n_units == 1 else f"{made.unit}s"
    over = _OVER[made.data_used].format(count=made.n_units, units=units)
    if not math.isnan(made.value):
        yield from _wrapped(f"With probability at least {made.confidence:.3g} over {over}, {_claim(made)}.")
    if made.valid:
        yield "  VALID: every precondition was met."
    else:
        number = "there is no number" if math.isnan(made.value) else "this is no more than a number"
        yield f"  NOT VALID, so {number}:"
        for name, reason in made.why_invalid.items():
            yield from _wrapped(f"{name.replace('_', ' ')}: {reason}", indent="    ")
    if math.isnan(made.value):
        return
    yield from _where_it_stands(made)
    yield from _wrapped(_verdict(made))
    yield from _ground(made)


def _claim(made: Certificate) -> str:
    """Return what is said of what."""
    value = f"{made.value:.4f} nat per token"
    if made.role == "lower_bound":
        return f"the exact predictor has a mean loss there of at least {value}"
    who = "the quantised last snapshot" if made.estimator in _QUANTISED else _OBJECT[made.certified_object]
    if made.estimator == "optimisation-error":
        reach = f"the least that its architecture can reach with weights of {made.components.get('bits')} bits"
        return f"{who} has a training loss of at most {value} above {reach}"
    mixed = f", mixed with the {_fixed(made)} as told below," if "smoothing" in made.components else ""
    above = " above the oracle's" if made.estimator == "paper-bound" else ""
    return f"{who}{mixed} has a mean loss{above} there of at most {value}"


def _where_it_stands(made: Certificate) -> Iterator[str]:
    """Yield the numbers that the value stands among, smallest first, with intervals of 95 %."""
    known = made.references
    rows = [("certificate", made.value, None)]
    if isinstance(found := known.get("bayes_lower"), dict):
        rows.append(("exact optimum", found["value"], found["ci"]))
    elif isinstance(found := known.get("oracle"), dict):
        rows.append(("one who is told the topic", found["value"], found["ci"]))
    if isinstance(found := known.get("population_mc"), dict):
        name = "its exact value" if made.target == "tok" else "measured on fresh data"
        rows.append((name, found["value"], 1.96 * found["se"]))
    if known.get("baseline") is not None:
        rows.append(("knowing nothing", known["baseline"], None))
    for name, value, error in sorted(rows, key=lambda row: row[1]):
        told = f"  +- {error:.4f}" if error else ""
        yield f"    {name + ' ':.<28} {value:.4f}{told}"


def _verdict(made: Certificate) -> str:
    if made.role == "lower_bound":
        return "No model can have a smaller loss there." if made.valid else ""
    if made.estimator == "optimisation-error":
        return ""
    if made.vacuous is None:
        return "How much that says cannot be told: no baseline is known."
    clipped = _clipped(made)
    ignorant = "an i.i.d. Gaussian of the best scale" if clipped else "a predictor that knows only the vocabulary"
    if made.vacuous:
        return f"It says nothing: {ignorant} {'does' if clipped else 'is certain to do'} as well."
    if made.share is None:
        return f"It says more than {ignorant}; the exact optimum is not known here."
    how = "informative" if made.informative else "weak"
    return f"It certifies {made.share:.0%} of what there is to learn, between knowing nothing and the optimum: {how}."


def _ground(made: Certificate) -> Iterator[str]:
    """Yield what the certificate stands on."""
    parts = made.components
    if isinstance(mix := parts.get("smoothing"), dict):
        weight, trust = mix.get("a"), mix.get("mean_model_weight")
        text = f"mixed: {mix.get('kind')} with weight {weight:.3g} on the {_fixed(made)}"
        if mix.get("cost") is not None:
            text += f", at a cost of at most {mix['cost']:.4f} nat per token"
        if trust is not None:
            text += f"; at a sequence's end the model keeps {trust:.0%} of the weight on average"
            text += f" (the certificate is about the {_fixed(made)})" if trust < 0.5 else ""
        yield from _wrapped(text + ".")
        if {"emp_loss", "raw_emp_loss"} <= parts.keys():
            mixed, plain = parts["emp_loss"], parts["raw_emp_loss"]
            yield f"  mean over these {made.unit}s: {mixed:.4f} nat per token mixed, {plain:.4f} unmixed."
    if _clipped(made):
        yield from _wrapped(
            f"losses are clipped at {parts['range_B']:.4g} nat per token; for what that leaves out "
            f"{parts['excess']:.2g} is added, known by {parts['excess_by']}."
        )
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
    if made.object_hash:
        yield f"  digest of the weights: {made.object_hash}"
    for warning in made.warnings:
        yield from _wrapped(f"warning: {warning}")


def _fixed(made: Certificate) -> str:
    """Return what the model is mixed with."""
    return "fixed Gaussian" if _clipped(made) else "uniform predictor"


def _clipped(made: Certificate) -> bool:
    """Whether the losses are those of real tokens."""
    mix = made.components.get("smoothing")
    return isinstance(mix, dict) and mix.get("kind") == "clipped_mix"


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
