"""Loss and accuracy by the length of the prompt, beside the time that a prompt takes."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows

import iclkit

EXAMPLE = 5  # tokens; n examples, each with a delimiter, and the asked one without its answer are (L + 1) n + L - 1


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """At the lengths of prompts with 0, 1, 2, 4, 8 and 16 examples."""
    last = iclkit.final(cube)
    lengths = [(EXAMPLE + 1) * int(shots) + EXAMPLE - 1 for shots in last["shots"].values]
    last = last.rename(shots="prompt_length").assign_coords(prompt_length=lengths)
    above = (last["loss"] - last["floor"].sel(reference="oracle")).sel(split="sequences")
    mean = xr.concat([above.isel(position=slice(0, n)).mean("position") for n in lengths], last["prompt_length"])
    accuracy, optimal = last["icl_accuracy"], last["reader_accuracy"].sel(reader="pretraining_optimal")
    yield Finding(
        claim="The longer the prompt, the better it is predicted",
        paper="better in-context learning with longer prompts; its bound has a factor 1 / sqrt(K T_p)",
        rows=rows(mean, "mean loss above the oracle over the prompt"),
        holds=_change(mean) < 0,
        note="on documents of the five known topics",
    )
    yield Finding(
        claim="The longer the prompt, the better it is answered",
        paper="accuracy improves with the length of the prompt; numbers unknown",
        rows=[
            *rows(accuracy, "accuracy", units="1"),
            *rows(accuracy.isel(prompt_length=-1) - accuracy.isel(prompt_length=0), "longest less shortest", units="1"),
            *rows(optimal, "accuracy of the exact mixture", units="1"),
        ],
        note="prompts, which no training has seen: even the exact mixture of the topics is no better with longer ones",
    )
    seconds = last["icl_seconds"]
    yield Finding(
        claim="A longer prompt costs more",
        paper="named as the other side; no number known",
        rows=rows(1e3 * seconds, "time of the model per prompt", units="ms"),
        holds=_change(seconds) > 0,
        note="prompts in batches, one thread of a CPU, forward pass without a cache",
    )


def _change(values: xr.DataArray) -> float:
    """Return how much more a mean over seeds is at the longest prompt than at the shortest."""
    means = values.mean("seed")
    return float(means.isel(prompt_length=-1) - means.isel(prompt_length=0))


EXPERIMENT = Experiment(
    measure=measure,
    reduced=("sweep.seed=[0]", "trainer.steps=400", "evaluation.sequences=256"),
    figures=("accuracy",),
)
