"""The built-in sources. Light: what computes is imported when a source is built."""

from collections.abc import Iterator

from iclkit.api import SourceSpec, hookimpl
from iclkit_sources.chains import configs as chains
from iclkit_sources.coins import config as coins
from iclkit_sources.ginc import config as ginc
from iclkit_sources.induction import config as induction
from iclkit_sources.linear import configs as linear
from iclkit_sources.machines import configs as machines
from iclkit_sources.machines import generalized_configs as generalized
from iclkit_sources.machines import process_configs as processes
from iclkit_sources.machines import random_config as random
from iclkit_sources.mixtures import config as mixtures
from iclkit_sources.switching import config as switching
from iclkit_sources.tasks import config as tasks
from iclkit_sources.text import config as text
from iclkit_sources.violations import config as violations

FAMILIES = (
    coins,
    machines,
    processes,
    generalized,
    random,
    mixtures,
    chains,
    linear,
    ginc,
    induction,
    switching,
    violations,
    text,
    tasks,
)


@hookimpl
def iclkit_sources() -> Iterator[SourceSpec]:
    """Yield the sources, family by family."""
    for family in FAMILIES:
        yield from family.SPECS
