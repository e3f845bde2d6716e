"""How many units a wanted tightness needs, before anything is trained."""

import math

import numpy as np
import torch

from iclkit_bounds import betting
from iclkit_bounds.units import checked_delta

_ATOMS = 1000  # quantiles that stand for more units than these


def least_units(loss: float, slack: float, upper: float, delta: float) -> int:
    """Return the smallest n for which any bound can come within `slack` of losses that are all equal to `loss`.

    n = ln(1/delta) / ln((B-x)/(B-x-slack)), rounded up: `betting.floor_limit` solved for n, and a worst-case limit, for
    no bound for arbitrary losses in (-inf, B] can do with fewer. slack = ln V - loss asks when a certificate can begin
    to say anything. Units are held-out topics or sequences; nats per token. Derived here. Where slack reaches to
    `upper`, 1.
    """
    if not (slack > 0 and loss < upper):
        raise ValueError("the slack must be positive and the expected loss below the upper limit")
    if loss + slack >= upper:
        return 1
    room = upper - loss
    return max(1, math.ceil(math.log(1 / checked_delta(delta)) / math.log(room / (room - slack)) - 1e-9))


def planned_limit(n: int, loss: float, spread: float, upper: float, delta: float, cost: float = 0.0) -> float:
    """Return the betting bound that n units may be expected to give, nats per token: a plan, no certificate.

    The units are put at the quantiles of a normal law of mean `loss` and standard deviation `spread`, clipped at
    `upper`, which shows the bound's typical and not its worst value.
    """
    atoms = min(n, _ATOMS if spread > 0 else 1)
    probabilities = (torch.arange(atoms, dtype=torch.float64) + 0.5) / atoms
    typical = np.minimum(loss + spread * torch.special.ndtri(probabilities).numpy(), upper)
    low, high = float(typical.mean()), upper
    wanted = math.log(1 / checked_delta(delta)) + cost
    while high - low > 1e-9:
        middle = (low + high) / 2
        enough = betting.log_wealth(typical, middle, upper, betting.stakes(n), copies=n / atoms) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def units_needed(
    loss: float, slack: float, upper: float, delta: float, spread: float = 0.0, cost: float = 0.0, most: int = 10**6
) -> int | None:
    """Return the smallest n for which `planned_limit` comes within `slack` of `loss`; None beyond `most`.

    `spread` is a guess of the units' standard deviation. For topics it is sqrt(tau^2 + sigma^2/N): tau between topics,
    sigma between the N sequences of one; more sequences help only the second part, so for a claim about fresh topics
    a token budget is best spent on N = 1.
    """
    checked_delta(delta)

    def enough(n: int) -> bool:
        return planned_limit(n, loss, spread, upper, delta, cost) <= loss + slack

    low, high = 0, least_units(loss, slack, upper, delta)
    while not enough(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high if high <= most else None
