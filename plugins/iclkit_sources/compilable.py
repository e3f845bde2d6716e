"""Which sources have hidden Markov models for topics, judged by their configs. Pure Python."""

from iclkit.api import Component

ALLOWED = "hmm, random-hmm, coins, mr-name, any named process, a mixture of such, or switching between few states"
"""What may be compiled, in words."""

STATES = 64
"""How many joint states (topic, state) are compiled into one dense machine."""

_FAMILIES = ("coins", "mr-name", "random-hmm")


def is_machine(component: Component) -> bool:
    """Whether every topic of a source is a hidden Markov model that can be taken apart."""
    config = component.config
    if component.kind == "mixture":
        return all(is_machine(part) and part.kind != "random-hmm" for part in config.components)
    if component.kind == "switching":
        return is_machine(config.source)
    return component.kind in _FAMILIES or hasattr(config, "process")
