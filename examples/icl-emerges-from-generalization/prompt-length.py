"""Loss and accuracy by the length of the prompt, beside the seconds that a prompt takes."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from findings import Experiment, Finding, Row, rows

import iclkit

EXAMPLE = 5  # tokens; n examples, each with a delimiter, and the asked one without its answer are (L + 1) n + L - 1
TIMES = 31


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """At the lengths of prompts with 0, 1, 2, 4, 8 and 16 examples."""
    last = iclkit.final(cube)
    shots = last["shots"].values.astype(int)
    lengths = [int((EXAMPLE + 1) * n + EXAMPLE - 1) for n in shots]
    above = (last["loss"] - last["floor"].sel(reference="oracle")).sel(split="sequences")
    mean = xr.concat([above.isel(position=slice(0, n)).mean("position") for n in lengths], _prompts(lengths))
    accuracy = last["icl_accuracy"].rename(shots="prompt_length").assign_coords(prompt_length=lengths)
    optimal = last["reader_accuracy"].sel(reader="pretraining_optimal").rename(shots="prompt_length")
    optimal = optimal.assign_coords(prompt_length=lengths)
    yield Finding(
        claim="The longer the prompt, the better it is predicted and answered",
        paper="better in-context learning with longer prompts; its bound has a factor 1 / sqrt(K T_p)",
        rows=[
            *rows(mean, "mean loss above the oracle over the prompt"),
            *rows(accuracy, "accuracy", units="1"),
            *rows(optimal, "accuracy of the exact mixture", units="1"),
        ],
        holds=bool((mean.isel(prompt_length=-1) < mean.isel(prompt_length=0)).all())
        and float(accuracy.isel(prompt_length=-1).mean()) > float(accuracy.isel(prompt_length=0).mean()),
        note="losses on documents of the five known topics, accuracy on prompts, which no training has seen",
    )
    yield Finding(
        claim="A longer prompt costs more",
        paper="named as the other side; no number known",
        rows=_seconds(Path(cube.attrs["folder"]), lengths),
        note="one prompt, one thread of a CPU, forward pass without a cache; half of the timings are within the range",
    )


def _prompts(lengths: list[int]) -> xr.DataArray:
    return xr.DataArray(lengths, dims="prompt_length", name="prompt_length")


def _seconds(run: Path, lengths: list[int]) -> Iterator[Row]:
    """Yield the median time of a prompt by its length, and the quartiles, of the first seed's model."""
    with tempfile.TemporaryDirectory() as folder:
        export = [sys.executable, "-m", "iclkit", "export", str(run), "seed=0", "--out", folder + "/model"]
        subprocess.run(export, check=True, capture_output=True)
        model = iclkit.load_model(folder + "/model")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for length in lengths:
            prompt = torch.zeros(1, length, dtype=torch.int64)
            took = []
            for _ in range(TIMES):
                begin = time.perf_counter()
                model(prompt)
                took.append(1e3 * (time.perf_counter() - begin))
            low, middle, high = np.quantile(took, [0.25, 0.5, 0.75])
            yield Row(
                setting=f"prompt length = {length}",
                quantity="time per prompt",
                mean=float(middle),
                low=float(low),
                high=float(high),
                seeds=1,
                units="ms",
            )
    torch.set_num_threads(threads)


EXPERIMENT = Experiment(
    measure=measure,
    reduced=("sweep.seed=[0]", "trainer.steps=400", "evaluation.sequences=256"),
    figures=("accuracy",),
)
