"""What certificates can be expected to say, before anything is trained."""

import math
from collections.abc import Iterator
from typing import Any

from iclkit.api import Categorical, Facts
from iclkit_bounds import planner
from iclkit_bounds.certificates.configs import HoldoutConfig

SLACKS = (0.1, 0.03)  # nats per token


def holdout(config: HoldoutConfig, facts: Facts, data: Any, length: int) -> Iterator[str]:
    """Yield how many held-out units the wanted tightness needs, and what the units there are can give."""
    if not isinstance(facts.space, Categorical):
        return
    size = facts.space.size
    upper = math.log(size) - math.log(config.smoothing) / length
    guess = 0.75 * math.log(size)  # of the loss; a lower one needs more units
    for target in config.targets:
        known = len(getattr(facts.topics, "weights", ())) if data.topics == "fresh" else data.topics
        there = data.holdout.topics if target == "topics" else data.holdout.sequences * known
        needed = ", ".join(
            f"{planner.least_units(guess, slack, upper, config.delta)} for {slack} nat" for slack in SLACKS
        )
        expected = planner.planned_limit(max(there, 1), guess, 0.0, upper, config.delta) - guess
        yield (
            f"holdout, {target}: {there} held-out units; at least {needed} of slack at {1 - config.delta:.0%} "
            f"confidence (units of equal loss {guess:.2f}); those there are give {expected:.3f} nat at best"
        )
