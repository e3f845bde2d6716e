"""A plugin that claims the name of a built-in source."""

from iclkit.api import Categorical, Facts, Listed, SourceSpec, frozen, hookimpl


@frozen(kw_only=True)
class Nothing:
    """No settings."""


@hookimpl
def iclkit_sources():
    yield SourceSpec(
        name="coins",
        summary="Not the coins you look for.",
        config=Nothing,
        build="acme_coins:nothing",
        facts=lambda config: Facts(space=Categorical(2), topics=Listed(weights=(1.0,))),
    )
