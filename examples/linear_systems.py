"""Baselines of the linear dynamical systems that several experiments share: d = 3, 0.9 times an orthogonal matrix."""

import numpy as np

import iclkit


def ridge_above_oracle(length: int) -> np.ndarray:
    """Return the loss of ridge regression on the context above the oracle's, nats, by position, on fresh systems."""
    source = iclkit.source("lds", dimension=3, draw="orthogonal", radius=0.9)
    made = iclkit.measure(source.baselines()["ridge"], source, ["loss"], length=length, sequences=2048)
    found: np.ndarray = made["regret"].sel(split="topics").values
    return found
