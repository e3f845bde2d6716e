"""GINC: accuracy by number of examples, LSTM and transformer, beside readers that are not trained."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Accuracy by shots, the readers of the same prompts, and LSTM less transformer."""
    last = iclkit.final(cube)
    accuracy = last["icl_accuracy"].sel(example_length=10, drop=True)
    none, most = accuracy.isel(shots=0, drop=True), accuracy.isel(shots=-1, drop=True)
    shown = accuracy.sel(shots=[0, 1, 4, 16])
    yield Finding(
        claim="Accuracy rises with the number of examples in the prompt",
        paper="Xie et al.'s notebook, 50 tokens, examples of 10, shots 0 to 64: 57 to 60 % with 4 layers, 70 to 81 % "
        "with 12, 92 to 96 % with the LSTM (5 seeds, up to 7 points either way)",
        rows=rows(shown, "accuracy", units="1"),
        holds=bool((most > none).all()),
        note="examples of 10 tokens; no prompt was ever trained on",
    )
    if "architecture" in most.dims and most.sizes["architecture"] == 2:
        ahead = accuracy.sel(architecture="lstm") - accuracy.sel(architecture="transformer")
        yield Finding(
            claim="The LSTM is better than the transformer",
            paper="Xie et al.'s notebook: 96 % against 60 to 85 % at 64 shots",
            rows=rows(ahead.sel(shots=[0, 16]), "LSTM's accuracy less the transformer's", units="1"),
            note="the transformer embeds the token before with each, which is not the plain architecture of the paper",
        )
    readers = last["reader_accuracy"].sel(example_length=10, shots=16, drop=True)
    if "architecture" in readers.dims:
        readers = readers.isel(architecture=0, drop=True)  # the same prompts
    told = ["ceiling", "pretraining_optimal_leaky", "context_bigram", "majority"]
    yield Finding(
        claim="How good readers are that are not trained, at 16 shots",
        paper="100 % for the exact mixture that reads examples of 8 tokens and more (derived)",
        rows=rows(readers.sel(reader=told), "accuracy", units="1"),
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=(  # the transformer alone
        "sweep={ seed = [0] }",
        'model={ kind = "transformer", layers = 2, width = 64, heads = 4, positions = "rope", previous = 1 }',
        "trainer.steps=300",
        "trainer.snapshots=[0]",
    ),
    figures=("accuracy",),
)
