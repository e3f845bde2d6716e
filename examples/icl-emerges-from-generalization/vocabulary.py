"""GINC with more tokens: accuracy beside exact readers of the same prompts."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Accuracy by vocabulary, of the model and of the readers."""
    last = iclkit.final(cube)
    accuracy, readers = last["icl_accuracy"].mean("shots"), last["reader_accuracy"].mean("shots")
    longest = accuracy.sel(example_length=5).mean("seed")
    gained = accuracy.isel(symbols=-1, drop=True) - accuracy.isel(symbols=0, drop=True)
    yield Finding(
        claim="A larger vocabulary gives a higher accuracy in context",
        paper="4-layer GPT-2, 64 examples of 10 tokens: 60 % at V = 50, 67 % at 100, 93 % at 150 (arXiv 2111.02080)",
        rows=[
            *rows(accuracy, "accuracy", units="1"),
            *rows(gained, "accuracy with the largest vocabulary less that with the smallest, by seed", units="1"),
            *rows(readers.sel(reader="pretraining_optimal", drop=True), "accuracy of the exact mixture", units="1"),
            *rows(readers.sel(reader="majority", drop=True), "accuracy of the majority label", units="1"),
            *rows(last["excess"].sel(split="sequences").mean("position"), "excess on the training topics"),
        ],
        note=f"accuracy with examples of 5 tokens goes from {float(longest[0]):.2f} to {float(longest[-1]):.2f}; the "
        "exact mixture's row tells how much easier the prompts themselves become",
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=('sweep={"source.symbols"=[10, 40], seed=[0]}', "trainer.steps=200"),
    figures=("accuracy",),
)
