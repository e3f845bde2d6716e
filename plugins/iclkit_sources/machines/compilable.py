"""Which sources have hidden Markov models for topics, judged by their configs. Pure Python."""

from iclkit.api import Component, Listed

ALLOWED = (
    "hmm, random-hmm, coins, dice, markov of order 1, mr-name, any named process, a mixture of listed ones, or "
    "switching between few states"
)
"""What may be compiled, in words."""

STATES = 64
"""How many joint states (topic, state) are compiled into one dense machine."""

_FAMILIES = ("coins", "dice", "mr-name", "random-hmm")


def is_machine(component: Component) -> bool:
    """Whether every topic of a source is a hidden Markov model that can be taken apart."""
    config = component.config
    if component.kind == "mixture":
        parts = config.components
        return all(is_machine(part) and part.kind != "switching" and _listed(part) for part in parts)
    if component.kind == "switching":
        return is_machine(config.source) and _listed(config.source)
    if component.kind == "violations":
        if config.boundaries or config.duplicates or config.shifted is not None:
            return False
        return is_machine(config.source) and (_listed(component) or not config.structureless)
    if component.kind == "markov":
        return config.order == 1
    return component.kind in _FAMILIES or hasattr(config, "process")


def _listed(component: Component) -> bool:
    return isinstance(component.facts.topics, Listed)
