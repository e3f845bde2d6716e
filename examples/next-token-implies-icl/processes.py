"""Six small processes: what the context tells is learned, and no more."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """How near the loss comes to h_l at every position, and what the context is worth at every snapshot."""
    data = cube.sel(split="topics")
    exact = data["optimum"].sel(reference="population")  # h_l
    last = iclkit.final(data)
    largest = last["excess"].max("position")
    yield Finding(
        claim="The loss settles on the myopic entropy h_l at every position",
        paper="section 3, Figure 1: loss curves settle on h_l; numbers unknown",
        rows=rows(largest, "largest c_l - h_l of any position"),
        holds=bool((largest < 0.02).all()),
    )
    curve = exact + last["excess"]  # c_l as h_l, exact, and the model's KL divergence, which has little noise
    learned, possible = (one.isel(position=0) - one.isel(position=-1) for one in (curve, exact))
    yield Finding(
        claim="What is learned in context is what the process allows: nothing where tokens are independent",
        paper="sections 2 and 3: h_l of a coin is flat; numbers derived",
        rows=[
            one
            for name in possible["process"].values
            for one in rows(
                learned.sel(process=[name]),
                f"c_1 - c_{exact.sizes['position']}",
                expected=f"{abs(float(possible.sel(process=name).mean())):.4f}",
            )
        ],
        holds=bool((abs(learned - possible) < 0.01).all() and (abs(learned.sel(process="coin")) < 0.003).all()),
    )
    drop, floor_drop = (one.isel(position=0) - one for one in (data["loss"], exact))
    spare = drop - (floor_drop - data["excess"])
    noise = data["floor_se"].sel(reference="population")  # of h_l as these sequences have it
    yield Finding(
        claim="Adaptation is forced: c_1 - c_l >= (h_1 - h_l) - (c_l - h_l) at every snapshot",
        paper="the argument of sections 2 and 3; the inequality is derived: it says that c_1 >= h_1",
        rows=rows(
            (spare / noise).where(noise > 1e-9).min(["step", "position"]),
            "least left less right of all snapshots and positions",
            units="standard errors",
            expected="0 or more, up to noise",
        ),
        holds=bool((spare > -5 * noise - 1e-6).all()),
        note="with the loss on 4096 sequences beside the exact h_l; the coin's has no noise",
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=("sweep.seed=[0]", "trainer.steps=300", "evaluation.sequences=2048"),
    figures=("icl-curve",),
)
