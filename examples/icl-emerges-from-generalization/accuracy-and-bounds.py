"""Rank correlation of few-shot accuracy with the population loss and with each bound on it."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, Row, ranked, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Accuracy after eight examples against losses and bounds, over settings and seeds."""
    last = iclkit.final(cube)
    accuracy = last["icl_accuracy"].isel(shots=-1)
    oracle = cube["floor"].sel(reference="oracle", split="sequences").mean("position")
    compared = {
        "population loss above the oracle": last["oracle_kl"].sel(split="sequences", first_position=2),
        "held-out certificate, above the oracle": cube["holdout"] - oracle,
        "PAC-Bayes certificate, above the oracle": cube["pacbayes"] - oracle,
        "paper's rate": cube["paper_bound"],
    }
    listed: list[Row] = []
    for told, values in compared.items():
        if "target" in values.dims:
            values = values.sel(target="sequences")
        listed += ranked(accuracy, values, told, "rank correlation with accuracy")
    yield Finding(
        claim="The smaller the population loss, the higher the few-shot accuracy",
        paper="taken as the meaning of in-context learning; not measured as a correlation",
        rows=[*listed, *rows(accuracy, "accuracy after 8 examples", units="1")],
        holds=listed[0].mean < 0,
        note="over cells, which differ in steps, width and sequences; intervals by bootstrap",
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=(
        "sweep.seed=[0]",
        'sweep.setting.choices={"steps = 50"={trainer={steps=50},prior={trainer={steps=50}}}, '
        '"steps = 200"={trainer={steps=200},prior={trainer={steps=100}}}, base={}, "width = 8"={model={width=8}}}',
        "evaluation.sequences=256",
    ),
)
