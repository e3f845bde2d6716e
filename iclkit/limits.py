"""What single tables of a config cannot know: where more is asked for than there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from iclkit.errors import Problem
from iclkit.specs import Listed

if TYPE_CHECKING:
    from iclkit.config import Config


NEEDS = ("holdout-topics", "holdout-sequences", "drawn-topics", "finite-data", "one-pass", "prior", "record")
"""What a metric may say that it cannot do without, see `MetricSpec.needs`; a record is told by name behind a colon."""


def cross_problems(config: Config) -> list[Problem]:
    """Find what single tables cannot know, as far as they could be read (a table with problems is None)."""
    data, evaluation = config.data, config.evaluation
    found: dict[str, str] = {}
    if data and evaluation and config.source:
        found |= dict(_source_limits(config))
    if data and evaluation and config.model:
        found |= dict(_context_limits(config))
    if evaluation and evaluation.topics is not None and evaluation.topics > evaluation.sequences:
        found["evaluation.topics"] = f"{evaluation.topics} is more than evaluation.sequences = {evaluation.sequences}"
    if data and not data.bos and data.length < 2:
        found["data.length"] = "without a begin token at least 2 tokens are needed"
    return [Problem(path, message) for path, message in found.items()]


def _source_limits(config: Config) -> Iterator[tuple[str, str]]:
    """Find where more is asked of a source than it has."""
    data, kind, facts = config.data, config.source.kind, config.source.facts
    if isinstance(facts.topics, Listed) and data.topics != "fresh":
        listed, wanted = len(facts.topics.weights), data.topics + data.holdout.topics
        if wanted > listed:
            more = f"{wanted} topics (held-out ones included) are more"
            yield "data.topics", f"{more} than the {listed} that {kind} lists"
    limit = facts.sequences_limit
    if limit is not None and data.sequences == "fresh":
        yield "data.sequences", f'"fresh" is not possible: {kind} has {limit} sequences per topic; give a number'
    elif limit is not None and isinstance(data.sequences, int):
        wanted = data.sequences + data.holdout.sequences + config.evaluation.sequences
        if wanted > limit:
            more = f"{wanted} sequences (held-out and evaluation ones included) are more"
            yield "data.sequences", f"{more} than the {limit} of {kind}"
    for path, length in _lengths(config):
        if facts.length_limit is not None and length > facts.length_limit:
            yield path, f"{length} is longer than the {facts.length_limit} tokens of {kind}"


def _context_limits(config: Config) -> Iterator[tuple[str, str]]:
    """Find where sequences are longer than the model can read."""
    if config.model.spec.unlimited(config.model.config):
        return
    for path, length in _lengths(config):
        if length > config.context:
            yield (
                path,
                (
                    f"{length} is longer than the model's context of {config.context}; "
                    f"set model.context = {length}, or choose a model without a longest input"
                ),
            )


def prior_problems(config: Config) -> Iterator[Problem]:
    """Find a prior that has seen what the main training's config holds out, or that cannot start that training."""
    prior = config.prior
    if prior is None:
        return
    if config.data and prior.data:
        yield from _prior_reach(prior.data, config.data)
    if config.source and prior.source and prior.source != config.source:
        yield from _prior_source(prior.source, config.source)


def _prior_reach(reach: Any, data: Any) -> Iterator[Problem]:
    for name in ("topics", "sequences"):
        held, main, prior = (getattr(part, name) for part in (data.holdout, data, reach))
        if held and main != "fresh" and (prior == "fresh" or prior > main):
            text = f"reaches what is held out after the {main} {name} of the main training; allowed: at most {main}"
            yield Problem(f"prior.data.{name}", f"{prior!r} {text}")


def _prior_source(prior: Any, main: Any) -> Iterator[Problem]:
    if prior.facts.space != main.facts.space:
        text = f"{prior.kind} has other tokens than {main.kind}; allowed: a source with the same"
        yield Problem("prior.source", text)
    ending = next((source.kind for source in (prior, main) if source.facts.sequences_limit is not None), None)
    if ending is not None:
        text = "certificates could not tell whether two of them share sequences; allowed: the main training's"
        yield Problem("prior.source", f"the sequences of {ending} have an end, and {text}")


def unmet_needs(config: Config) -> Iterator[Problem]:
    """Find the metrics that cannot do without what this config does not have, as far as it could be read."""
    if not (config.data and config.source and config.trainer):
        return
    for index, metric in enumerate(config.metrics):
        for need in metric.spec.needs(metric.config):
            missing = _missing(need, config)
            if missing:
                yield Problem(f"metrics[{index}]", f"{metric.name} needs {missing}")


def _missing(need: str, config: Config) -> str | None:
    """Return what is missing and what to do about it, or None where a need is met; see `MetricSpec.needs`."""
    data, trainer = config.data, config.trainer
    kind, _, name = need.partition(":")
    there = None if data.topics == "fresh" or data.sequences == "fresh" else data.topics * data.sequences
    if kind == "holdout-topics" and not data.holdout.topics:
        return "held-out topics; set data.holdout.topics"
    if kind == "holdout-sequences" and (not data.holdout.sequences or data.topics == "fresh"):
        return "held-out sequences of known topics; set data.holdout.sequences, and data.topics to a number"
    if kind == "drawn-topics" and isinstance(config.source.facts.topics, Listed):
        return f"topics drawn at random; those of {config.source.kind} are listed"
    if kind == "finite-data" and there is None:
        return "data that end; set data.topics and data.sequences to numbers"
    if kind == "one-pass" and there is not None and (asked := _units_asked_for(trainer.config)) > there:
        return f"a training that meets no sequence twice; {asked:g} are asked for and there are {there}"
    if kind == "prior" and config.prior is None:
        return "a training that runs first; add a table [prior]"
    if kind == "record" and name not in trainer.spec.records(trainer.config):
        return f"the record {name}, which the trainer {trainer.kind} does not make as it is set"
    if kind not in NEEDS:
        return f'"{need}", which is no need that iclkit knows (an error of its plugin); allowed: {", ".join(NEEDS)}'
    return None


def _units_asked_for(trainer: Any) -> float:
    """Return how many sequences a trainer takes in all, repeats counted; endless for full batches."""
    size, steps = getattr(trainer, "batch_size", None), getattr(trainer, "steps", None)
    return size * steps if isinstance(size, int) and isinstance(steps, int) else float("inf")


def _lengths(config: Config) -> Iterator[tuple[str, int]]:
    yield "data.length", config.data.length
    if config.evaluation.length is not None:
        yield "evaluation.length", config.evaluation.length
