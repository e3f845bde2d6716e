"""GINC with 5 to 20 training topics: prompts of trained and of unseen topics, beside exact readers of them."""

from collections.abc import Iterator

import xarray as xr
from findings import Experiment, Finding, rows

import iclkit

READERS = ("pretraining_optimal_leaky", "context_bigram", "majority")


def measure(cube: xr.Dataset) -> Iterator[Finding]:
    """Accuracy by K on both kinds of prompts, and the loss on the training topics."""
    last = iclkit.final(cube)
    most = int(last["shots"].max())
    for prefix, told, claim in (
        ("", "prompts of topics 1 to 5", "Accuracy on a fixed set of trained topics, by the number of training topics"),
        ("fresh_", "prompts of unseen topics", "Accuracy on unseen topics rises with the number of training topics"),
    ):
        accuracy = last[f"{prefix}icl_accuracy"].sel(shots=[0, most])
        readers = last[f"{prefix}reader_accuracy"].sel(shots=most)
        exact = readers.sel(reader="pretraining_optimal_leaky")
        above = (exact - readers.sel(reader="majority")).sel(example_length=10)
        yield Finding(
            claim=claim,
            paper="accuracy rises with K; K in {5, 10, 15, 20} is given for real text, numbers unknown",
            rows=[
                *rows(accuracy, f"accuracy, {told}", units="1"),
                *rows(readers.sel(reader=list(READERS)), f"accuracy of a reader, {most} examples", units="1"),
            ],
            note="the exact mixture of the training topics, hidden states leaking with probability .001, is "
            f"{float(above.min()):+.2f} to {float(above.max()):+.2f} from the majority label on these prompts"
            + (": nothing is asserted" if prefix else "; all cells have the same number of steps"),
        )
    yield Finding(
        claim="How far the model is from the optimum on new sequences of the training topics",
        paper="no number known",
        rows=rows(last["excess"].sel(split="sequences").mean("position"), "excess on the training topics"),
    )


EXPERIMENT = Experiment(
    measure=measure,
    reduced=('sweep={"data.topics"=[5, 20], seed=[0]}', "trainer.steps=150"),
    figures=("accuracy",),
)
