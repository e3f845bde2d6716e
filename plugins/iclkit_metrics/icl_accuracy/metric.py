"""Few-shot accuracy (arXiv 2111.02080, section 4), beside exact readers of the same prompts."""

import math
import time
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from iclkit.api import Categorical, MeasuredCell, NotApplicable
from iclkit_metrics.icl_accuracy.prompts import answers, grid, prompt_topics, reordered
from iclkit_metrics.icl_accuracy.readers import READERS, reader_answers
from iclkit_metrics.icl_accuracy.spec import ACCURACY, PROMPTS
from iclkit_metrics.snapshots import chosen
from iclkit_metrics.wilson import wilson
from iclkit_metrics.with_error import with_error


class IclAccuracy:
    """The share of prompts whose label the model finds likeliest, by example length and shots.

    Prompts are made by address and paired: with fewer shots topic, test input and first examples are the same. Those
    whose test input their own topic rules out have no label and are left out (`icl_impossible`). The standard error is
    binomial, sqrt(p (1 - p) / n), and the interval Wilson's (1927), at 95 %: of prompts, for the topics they come from.
    Readers are averaged over the prompts that they do not rule out; `uniform` is 1/V.

    The order sensitivity is the share of prompts whose answer turns from right to wrong or back when the examples
    change places, averaged over random orders; NaN below two shots.
    """

    def __init__(self, config: Any):
        self._config = config

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Return accuracies of the model and of readers; raises NotApplicable where the source makes no prompts."""
        config, make = self._config, getattr(cell.source, "prompts", None)
        if make is None or not isinstance(cell.facts.space, Categorical):
            raise NotApplicable("this source makes no prompts (no method prompts with labels)")
        size, fits = cell.facts.space.size, grid(config.shots, config.lengths, cell.length)
        topics = prompt_topics(cell, config.topics, config.fresh)
        steps, lengths = chosen(cell.steps, config.snapshots), list(config.lengths)
        shots = list(dict.fromkeys(n for _, n in fits))
        shape = len(lengths), len(shots)
        right, count = np.full((len(cell.steps), *shape), np.nan), np.full(shape, np.nan)
        readers, ruled_out = np.full((2, len(READERS), *shape), np.nan)
        impossible, sensitivity, seconds = np.full((3, *shape), np.nan)
        for (length, n), fit in fits.items():
            if not fit:
                continue
            place = lengths.index(length), shots.index(n)
            key = cell.key.fold("prompts").fold(length)
            prompts = make(topics, n, length, config.prompts, key, config.examples)
            kept = prompts.possible
            impossible[place] = float((~kept).double().mean())
            if not kept.any():
                continue
            batch, label, count[place] = prompts.batch(), prompts.label, int(kept.sum())
            for step_place, step in steps.items():
                began = time.perf_counter()
                correct = (answers(cell.models[step], batch, size) == label)[kept]
                seconds[place] = (time.perf_counter() - began) / config.prompts
                right[step_place, *place] = float(correct.double().mean())
            sensitivity[place] = self._sensitivity(cell, batch, label, kept, (n, length), correct)
            for reader, told in reader_answers(cell, prompts, config.leak, size).items():
                at = READERS.index(reader), *place
                answered = (told >= 0)[kept]
                ruled_out[at] = float((~answered).double().mean())
                readers[at] = float((told == label)[kept][answered].double().mean())
            readers[READERS.index("uniform"), *place], ruled_out[READERS.index("uniform"), *place] = 1 / size, 0
        low, high = wilson(right, count)
        return xr.Dataset(
            with_error("icl_accuracy", ACCURACY, right, np.sqrt(right * (1 - right) / count), units="1")
            | {
                "icl_accuracy_low": (ACCURACY, low),
                "icl_accuracy_high": (ACCURACY, high),
                "reader_accuracy": (("reader", *PROMPTS), readers),
                "reader_impossible": (("reader", *PROMPTS), ruled_out),
                "icl_impossible": (PROMPTS, impossible),
                "icl_order_sensitivity": (PROMPTS, sensitivity),
                "icl_seconds": (PROMPTS, seconds, {"cost": "time"}),  # not the same in every run
            },
            coords={"step": list(cell.steps), "example_length": lengths, "shots": shots, "reader": list(READERS)},
        )

    def _sensitivity(
        self, cell: MeasuredCell, batch: Any, label: Tensor, kept: Tensor, shape: tuple[int, int], correct: Tensor
    ) -> float:
        """Return the order sensitivity of the last model on prompts of (shots, length)."""
        shots, length = shape
        if shots < 2 or not self._config.permutations:
            return math.nan
        model, size, changed = cell.models[cell.steps[-1]], cell.facts.space.size, []  # type: ignore[union-attr]
        for order in range(self._config.permutations):
            other = reordered(batch, shots, length, cell.key.fold("order").fold(order))
            changed.append((answers(model, other, size) == label)[kept] != correct)
        return float(torch.cat(changed).double().mean())
