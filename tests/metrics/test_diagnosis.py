"""One planted case for every sign of failure, and silence where nothing is wrong."""

import numpy as np
import pytest
import xarray as xr

from iclkit import engine
from iclkit.cube import open_cube
from iclkit_metrics.diagnosis.rules import RULES
from iclkit_metrics.diagnosis.sentence import sentence

STEPS, SPLITS, LENGTH = [0, 10, 100, 300, 600, 1000], ["train", "sequences", "topics"], 16
REFERENCES = ["oracle", "mixture", "population"]
BODY = ("seed", "step", "split", "position")


def healthy(seeds=1):
    """A cube of a model that learned: what it is above the optimum falls to .002 nat, and all gaps are small."""
    position = np.arange(1, LENGTH + 1)
    floor = np.stack([np.full(LENGTH, 0.5), *[0.5 + 0.2 / position] * 2])  # (reference, position)
    excess = np.array([0.4, 0.3, 0.1, 0.02, 0.004, 0.002])[:, None, None] * np.ones((1, len(SPLITS), LENGTH))
    loss = excess + floor[1]
    shape = (seeds, len(STEPS), len(SPLITS))

    def every(values, *tail):
        return np.broadcast_to(values, (seeds, *tail)).copy()

    ratio = (loss - floor[0]).mean(-1, keepdims=True) * np.ones(2)
    data = {
        "loss": (BODY, every(loss, *loss.shape)),
        "loss_se": (BODY, np.full((*shape, LENGTH), 0.001)),
        "excess": (BODY, every(excess, *excess.shape)),
        "excess_se": (BODY, np.full((*shape, LENGTH), 0.0003)),
        "floor": (
            ("seed", "reference", "split", "position"),
            every(np.repeat(floor[:, None], len(SPLITS), axis=1), 3, len(SPLITS), LENGTH),
        ),
        "excess_reference": (("seed", "split"), np.full((seeds, 3), "mixture", dtype=object)),
        "log_ratio": (("seed", "step", "split", "first_position"), every(ratio, *ratio.shape)),
        "log_ratio_se": (("seed", "step", "split", "first_position"), np.full((*shape, 2), 0.002)),
    }
    for name in ("sequence_gap", "topic_gap"):
        data[name] = (("seed", "step", "first_position"), np.full((seeds, len(STEPS), 2), 0.004))
        data[f"{name}_se"] = (("seed", "step", "first_position"), np.full((seeds, len(STEPS), 2), 0.003))
    coords = {
        "seed": list(range(seeds)),
        "step": STEPS,
        "split": SPLITS,
        "position": position,
        "reference": REFERENCES,
        "first_position": [1, 2],
    }
    return xr.Dataset(data, coords=coords)


def with_accuracy(data, accuracy):
    data = data.assign_coords(example_length=[3], shots=[0, 1, 4], reader=["majority", "uniform"])
    shape = (1, len(STEPS), 1, 3)
    data["icl_accuracy"] = (("seed", "step", "example_length", "shots"), np.full(shape, accuracy))
    data["icl_accuracy_low"] = data["icl_accuracy"] - 0.05
    readers = np.broadcast_to([[0.3], [0.2]], (2, 3)).reshape(1, 2, 1, 3)
    data["reader_accuracy"] = (("seed", "reader", "example_length", "shots"), readers)
    return data


def test_a_healthy_run_is_silent():
    assert sentence(healthy()) is None
    assert sentence(with_accuracy(healthy(), 0.9)) is None
    assert sentence(healthy().assign(nearest=(("seed", "step", "split"), np.full((1, 6, 3), "mixture")))) is None
    untold = healthy()[["loss", "loss_se"]]
    assert sentence(untold) is None


def chance():
    return with_accuracy(healthy(), 0.31)


def oscillation():
    data = healthy()
    data["loss"][:, 2::2] += 0.3
    return data


def few_sequences():
    data = healthy()
    data["sequence_gap"] += 0.1
    return data


def few_topics():
    data = healthy()
    data["topic_gap"] += 0.1
    return data


def leak():
    data = healthy()
    data["log_ratio"][{"split": slice(1, 3)}] -= 0.1
    return data


def bigram():
    data = healthy()
    data["excess"][:] = 0.2
    data["loss"][:] = 0.8
    return data.assign(nearest=(("seed", "step", "split"), np.full((1, 6, 3), "static-bigram", dtype=object)))


def flat():
    data = bigram().drop_vars("nearest")
    data["excess"][:] = np.linspace(0, 0.2, LENGTH)
    return data


def short():
    data = healthy()
    data["floor"][:, 1:] = 0.8 - 0.1 * np.linspace(0, 1, LENGTH)
    data["log_ratio"] += 0.2
    return data


PLANTED = [
    (leak, "Loss below the optimum", "causal"),
    (chance, "Accuracy at chance despite low loss", "check the source"),
    (bigram, "nearest to static-bigram", "train longer"),
    (flat, "No in-context learning yet", "train longer"),
    (oscillation, "Oscillating loss", "prior initialisation"),
    (few_sequences, "Large sequence gap", "data.sequences, N"),
    (few_topics, "Large topic gap", "data.topics, K"),
    (short, "Context shorter than the topics need", "data.length, T"),
]


@pytest.mark.parametrize(("planted", "sign", "advice"), PLANTED)
def test_each_failure_is_told_and_nothing_else(planted, sign, advice):
    said = sentence(planted())
    assert sign in said
    assert advice in said
    assert len(said.splitlines()) == 1
    assert any(character.isdigit() for character in said)  # the evidence


def test_every_rule_has_a_planted_case():
    spoken = {rule for planted, _, _ in PLANTED for rule in RULES if rule(planted().isel(seed=0)) is not None}
    assert spoken == set(RULES)


def test_what_noise_can_make_is_not_told():
    data = few_topics()
    data["topic_gap_se"][:] = 0.05
    assert sentence(data) is None
    data = leak()
    data["log_ratio_se"][:] = 0.2
    assert sentence(data) is None
    data = oscillation()
    data["loss_se"][:] = 0.2
    assert sentence(data) is None


def test_a_sweep_tells_the_clearest_cell_and_how_many_there_are():
    data = xr.concat([healthy(2), healthy(2), healthy(2)], dim=xr.Variable("topics", [1.0, 4.0, np.inf]))
    data["topic_gap"][1] += 0.1
    data["topic_gap"][0, 1] += 0.2
    said = sentence(data)
    assert "In 3 of 6 cells; the numbers are those of topics = 1, seed = 1." in said
    assert "0.2 nat" in said


def test_cells_that_are_not_there_are_passed_over():
    data = xr.concat([few_topics(), healthy()], dim=xr.Variable("width", [1, 2]))
    data = data.where(data["width"] == 1)
    assert "Large topic gap" in sentence(data)
    assert "cells" not in sentence(data)
    assert sentence(data.isel(step=[])) is None


def test_a_run_that_learned_nothing_says_so_at_its_end(tiny, planned, found):
    tiny["data"]["length"] = 16
    tiny["trainer"] |= {"steps": 2, "snapshots": [0]}
    tiny["evaluation"]["sequences"] = 256
    made = planned(tiny)
    assert "diagnosis" in [metric.kind for metric in made.cells[0].config.metrics]
    result = engine.run(made, found)
    assert any("No in-context learning yet" in said for said in result.sentences)
    assert "diagnosis_not_applicable" not in open_cube(made.folder)


def test_alone_it_measures_nothing_and_harms_nothing(tiny, planned, found):
    tiny["metrics"] = [{"kind": "diagnosis"}]
    made = planned(tiny)
    result = engine.run(made, found)
    result.check()
    assert result.sentences == ()
    assert engine.run(made, found).sentences == ()  # a finished run stays finished
