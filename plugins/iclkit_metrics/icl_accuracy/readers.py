"""Readers of prompts that are not trained: what can be reached, by whom, and how much is mere frequency."""

from typing import Any

import torch
from torch import Tensor

from iclkit.api import ContextBigram, MeasuredCell, mixture_over
from iclkit_metrics.families import family_of
from iclkit_metrics.icl_accuracy.prompts import answers

READERS = ("ceiling", "pretraining_optimal", "pretraining_optimal_leaky", "context_bigram", "majority", "uniform")


def reader_answers(cell: MeasuredCell, prompts: Any, leak: float, size: int) -> dict[str, Tensor]:
    """Return the answers of readers to prompts, int64 (n,), -1 for none.

    ceiling : Bayes, with the prompt process and the prompts' topics known; where the prompts have a `ceiling()`.
    pretraining_optimal : the exact mixture over the K known topics, which reads a prompt as a document. It has no
        answer where no topic's documents could contain the prompt.
    pretraining_optimal_leaky : the same where hidden states go anywhere with a small probability; where the source
        has a method `leaky(topics, weights, leak)`.
    context_bigram : counts what followed the last token.
    majority : the commonest label of these very prompts.
    """
    batch, label, found = prompts.batch(), prompts.label, {}
    if hasattr(prompts, "ceiling"):
        found["ceiling"] = prompts.ceiling()
    known = family_of(cell)
    if known is not None:
        topics, weights = known.topics, known.weights
        found["pretraining_optimal"] = answers(mixture_over(cell.source, topics, weights), batch, size)
        if hasattr(cell.source, "leaky"):
            found["pretraining_optimal_leaky"] = answers(cell.source.leaky(topics, weights, leak), batch, size)
    found["context_bigram"] = answers(ContextBigram(size), batch, size)
    commonest = label[prompts.possible].bincount(minlength=size).argmax()
    found["majority"] = torch.full_like(label, int(commonest))
    return found
