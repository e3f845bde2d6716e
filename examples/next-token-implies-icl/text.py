"""Real text: what the context is worth, by the number of topics."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import xarray as xr
from findings import Experiment, Finding, rows

import iclkit


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """How far the loss falls in the context with 1, 2 and 5 topics, and how far it has to."""
    data = cube.sel(split="sequences").isel(seed=0, drop=True).rename(first="seed")
    data = data.assign_coords(number=data["data_topics"].values).rename(number="topics")
    last = iclkit.final(data)["loss"]
    start, end = last.isel(position=0), _late(last)
    fall = start - end
    yield Finding(
        claim="The more topics, the more is learned in context",
        paper="stored results of the authors' code, arXiv papers: 1.93, 2.09, 2.24, 2.18, 2.25 nat with 1 to 11 topics",
        rows=[
            *rows(fall, "loss on the first byte less that on the last eight"),
            *rows(start, "loss on the first byte"),
            *rows(end, "loss on the last eight bytes"),
        ],
        holds=bool((np.diff(fall.mean("seed").transpose("topics")) > 0).all()),
        note="means over which of the five texts come first, with as many tokens of each text in every training",
    )
    entropy = _first_byte(data["topics"].values.tolist(), data.sizes["seed"]).assign_coords(topics=data["topics"])
    first, error = (data[name].isel(position=0) for name in ("loss", "loss_se"))
    forced = _late(entropy - iclkit.final(data)["loss"])
    yield Finding(
        claim="Adaptation is forced: c_1 - c_l >= H(X_1) - c_l at every snapshot",
        paper="the argument of sections 2 and 3; here h_1 alone is known, the entropy of single bytes",
        rows=[
            *rows(forced, "least that the last eight bytes force at the end, H(X_1) - c_l"),
            *rows((first - entropy).min("step"), "least c_1 - H(X_1) of all snapshots"),
        ],
        holds=bool((first - entropy > -5 * error).where(first.notnull(), True).all() and (forced > 0).all()),
        note="up to 5 standard errors of c_1; H(X_1) of the whole texts",
    )


def _late(values: xr.DataArray) -> xr.DataArray:
    return values.isel(position=slice(-8, None)).mean("position")


def _first_byte(counts: list[int], orders: int) -> xr.DataArray:
    """Return the entropy of single bytes, nats, of the first so many texts of each folder."""
    entropy = np.empty((len(counts), orders))
    for row, column in np.ndindex(*entropy.shape):
        files = sorted((_corpus().FOLDER / str(column + 1)).iterdir())[: counts[row]]
        each = [np.bincount(np.fromfile(file, dtype=np.uint8), minlength=256) / file.stat().st_size for file in files]
        share = np.mean(each, axis=0)
        entropy[row, column] = -(share[share > 0] * np.log(share[share > 0])).sum()
    return xr.DataArray(entropy, dims=("topics", "seed"))


def _corpus() -> ModuleType:
    """Return the script that writes the texts."""
    spec = importlib.util.spec_from_file_location("text_corpus", Path(__file__).with_name("text_corpus.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXPERIMENT = Experiment(
    measure=measure,
    reduced=(
        'sweep.number={zip={"data.topics"=[1, 5], "trainer.steps"=[120, 600]}}',
        'sweep.first={zip={"source.path"=["text-corpus/1","text-corpus/2"],"seeds.model"=[1,2],"seeds.order"=[1,2]}}',
        "evaluation.sequences=512",
    ),
    figures=("icl-curve",),
    prepare=lambda: _corpus().write(),
)
