"""Two coins of unequal weight: what one task costs depends on the others."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from findings import Experiment, Finding, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """What each coin costs until it is told apart, their mean, and what becomes of coins outside the ensemble."""
    last = iclkit.final(cube).sel(split="topics")
    rare = last.sel(topic=2)
    cost, optimum = rare["topic_cost"], rare["topic_cost_optimum"]
    yield Finding(
        claim="The rarer a task is in the ensemble, the more context it costs: -ln w nat in all",
        paper="abstract: in-context learning of any task is coupled to the ensemble; -ln w is derived",
        rows=[
            one
            for name in cost["weights"].values
            for one in rows(
                cost.sel(weights=[name]),
                "cost of the second coin",
                expected=f"{float(rare['topic_cost_limit'].sel(weights=name).mean()):.3f}; the optimum pays "
                f"{float(optimum.sel(weights=name).mean()):.3f} on the same sequences",
            )
        ],
        holds=bool((np.diff(cost.transpose("seed", "weights").values) > 1).all())
        and bool((abs(cost / optimum - 1).sel(weights=["1 : 1", "9 : 1"]) < 0.15).all()),
        note="one sequence of a hundred is of the coin of weight 1 %, in training and in measuring",
    )
    mean = (last["optimum"].sel(reference="population") - last["optimum"].sel(reference="oracle")).sum("position")
    paid = mean + last["excess"].sum("position")  # exact, and the model's KL divergence, which has little noise
    yield Finding(
        claim="In the mean over tasks the cost is I(C; X), which tends to the entropy of the weights",
        paper="derived",
        rows=[
            one
            for name in paid["weights"].values
            for one in rows(
                paid.sel(weights=[name]),
                "cost, mean over the coins by weight",
                expected=f"{float(mean.sel(weights=name).mean()):.4f} = I(C; X)",
            )
        ],
        holds=bool((abs(paid - mean) < 0.15).all()),
    )
    outside = last.sel(weights="1 : 1").isel(position=slice(-10, None)).mean("position")
    yield Finding(
        claim="A coin outside the ensemble is not learned: its loss tends to that of the nearest coin inside",
        paper="derived: H(R) + the least D(R, P_c); the paper's own statement is unknown",
        rows=[
            one
            for place, bias in ((1, 0.5), (2, 0.6))
            for one in rows(
                outside["outside_loss"].sel(outside_topic=place),
                f"loss on a coin of {bias}, last ten positions",
                expected=", ".join(
                    f"{float(outside[name].sel(outside_topic=place).mean()):.4f} {word}"
                    for name, word in (
                        ("outside_optimum", "for the ensemble's optimum"),
                        ("outside_limit", "in the end"),
                        ("outside_floor", "for what knows the coin"),
                    )
                ),
            )
        ],
        holds=bool(
            (abs(outside["outside_loss"] - outside["outside_optimum"]) < 0.01).all()
            and (outside["outside_loss"] > outside["outside_floor"] + 0.005).all()
        ),
        note="the coin of 0.5 is equally near to both, so that it is decided slowly which one it is taken for",
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=("sweep.seed=[0]", "trainer.steps=300", "evaluation.sequences=2048"),
    figures=("topic-cost",),
)
