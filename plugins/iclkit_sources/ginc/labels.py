"""What a GINC prompt asks for: the token that its topic finds likeliest after the test input alone."""

import torch
from attrs import evolve
from torch import Tensor

from iclkit.api import Batch
from iclkit_sources.ginc.filters import GincOracle
from iclkit_sources.ginc.topics import GincTopics


def initial_law(topics: GincTopics, start: Tensor | None, count: int) -> Tensor:
    """Return what a label supposes of the first state, float64 (n, E * P).

    Uniform over entities at the start property, or over all states where there is none.
    """
    states = topics.memory.numel()
    if start is None:
        return topics.start.new_full((count, states), 1 / states)
    at_start = torch.arange(states, device=start.device) % topics.properties == start[:, None]
    return at_start.double() / topics.entities


def label_of(topics: GincTopics, topic: Tensor, initial: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Return the likeliest token after each test input (n, L - 1), lowest index on ties, and whether there is one."""
    own = evolve(topics[topic], start=initial)
    tokens = torch.nn.functional.pad(test, (0, 1))  # what is asked for has no token yet; 0 stands in its place
    rows = torch.arange(len(test), device=test.device)
    batch = Batch(tokens=tokens, mask=tokens >= 0, topics=own, topic=rows, number=rows)
    log_probs = GincOracle().distribution(batch).log_probs[:, -1]
    possible = ~log_probs.isnan().any(1)
    best = log_probs == log_probs.nan_to_num(nan=0.0, neginf=-torch.inf).amax(1, keepdim=True)
    tokens = torch.arange(topics.symbols, device=test.device)
    label = torch.where(best, tokens, topics.symbols).amin(1)
    return torch.where(possible, label, 0), possible
