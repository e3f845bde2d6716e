"""One of two plugins that claim one name."""

from iclkit.api import Categorical, Facts, Listed, SourceSpec, frozen, hookimpl


@frozen(kw_only=True)
class Nothing:
    """No settings."""


@hookimpl
def iclkit_sources():
    yield SourceSpec(
        name="shared",
        summary="From acme-two.",
        config=Nothing,
        build="acme_two:nothing",
        facts=lambda config: Facts(space=Categorical(2), topics=Listed(weights=(1.0,))),
    )
