"""A good plugin: a source, a command that imports lazily, a check."""

from iclkit.api import (
    Categorical,
    CheckSpec,
    CommandSpec,
    Facts,
    Listed,
    SourceSpec,
    frozen,
    hookimpl,
    option,
)


@frozen(kw_only=True)
class Die:
    """A fair die."""

    sides: int = option("number of sides", default=6, at_least=2)


@hookimpl
def iclkit_sources():
    yield SourceSpec(
        name="fair-die",
        summary="A fair die: nothing to learn in context.",
        config=Die,
        build="acme_good_code:build",
        facts=lambda config: Facts(space=Categorical(config.sides), topics=Listed(weights=(1.0,))),
    )


@hookimpl
def iclkit_commands():
    yield CommandSpec(name="greet", summary="Greet somebody.", command="acme_good_code:greet")
    yield CommandSpec(name="lost", summary="Its code is gone.", command="acme_gone:command")


@hookimpl
def iclkit_checks():
    yield CheckSpec(name="mood", summary="How is it going?", run="acme_good_code:mood")
