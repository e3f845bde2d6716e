"""What certificates can be expected to say, before anything is trained."""

import math
from collections.abc import Iterator
from typing import Any

from iclkit.api import Categorical, Facts
from iclkit_bounds import planner
from iclkit_bounds.certificates.configs import HoldoutConfig

SLACKS = (0.1, 0.03)  # nats per token
SPREAD = 0.2  # nats per token: a usual standard deviation of units' losses


def holdout(config: HoldoutConfig, facts: Facts, data: Any, length: int) -> Iterator[str]:
    """Yield how many held-out units the wanted tightness needs, and what the units there are can give."""
    if isinstance(facts.space, Categorical):
        upper = math.log(facts.space.size) - math.log(config.smoothing) / length
        guess = 0.75 * math.log(facts.space.size)  # of the loss; a lower one needs more units
        units = f"losses of about {guess:.2f}"
    else:  # where losses are clipped is chosen once the source is built; the distance is what matters
        guess, upper = 0.0, float(facts.space.scored)
        units = f"if losses are clipped {upper:g} above those of all units"
    for target in config.targets:
        known = len(getattr(facts.topics, "weights", ())) if data.topics == "fresh" else data.topics
        there = data.holdout.topics if target == "topics" else data.holdout.sequences * known
        needed = ", ".join(f"{slack} nat: {_needed(guess, slack, upper, config.delta)}" for slack in SLACKS)
        low, high = (
            planner.planned_limit(max(there, 1), guess, spread, upper, config.delta) - guess for spread in (0, SPREAD)
        )
        yield (
            f"holdout, {target}: slack of the {there} held-out units at {1 - config.delta:.0%} confidence: "
            f"{low:.3f} nat if their losses are all equal, {high:.3f} if they scatter by {SPREAD} nat; "
            f"needed for {needed} ({units})"
        )


def _needed(loss: float, slack: float, upper: float, delta: float) -> str:
    """Return how many units a slack takes: of equal losses, and of losses that scatter."""
    equal, scattered = (planner.units_needed(loss, slack, upper, delta, spread=spread) for spread in (0.0, SPREAD))
    return f"{equal or 'too many'} or {scattered or 'too many'}"
