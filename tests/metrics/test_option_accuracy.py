"""Accuracy on tasks with options: who knows the label is right, who guesses is right by chance."""

from pathlib import Path

import numpy as np
import pytest
import torch

import iclkit
from iclkit.api import Uniform

SOURCE = {"kind": "text-tasks", "path": str(Path(__file__).parents[1] / "data" / "tasks.jsonl")}


class Likes:
    """Gives some bytes a high probability wherever they stand."""

    def __init__(self, letters):
        self._log_probs = torch.full((256,), -8.0, dtype=torch.float64)
        self._log_probs[torch.tensor(list(letters.encode()))] = -1.0

    def log_prob(self, batch):
        return self._log_probs[batch.tokens]

    def distribution(self, batch):
        return None


def measured(model, length=64, topics=2, **config):
    metric = {"kind": "option-accuracy", "shots": [0, 2], "questions": 60} | config
    return iclkit.measure(model, SOURCE, [metric], length=length, sequences=8, topics=topics)


def test_the_least_mean_loss_wins():
    """Asked are 2 - 9 (negative) and fly (small) of the known tasks, wolf (animal) of the unseen one."""
    data = measured(Likes("negativsml"))
    assert (data["option_accuracy"].sel(tasks="known") == 1).all()
    data = measured(Likes("plnt"))
    assert (data["option_accuracy"].sel(tasks="unseen") == 0).all()
    data = measured(Likes("very big"))  # "very big" and "big" are as likely per byte: the first of them wins
    assert data["option_accuracy"].sel(tasks="known", shots=0).item() < 1


def test_chance_and_intervals():
    data = measured(Uniform(256))
    np.testing.assert_allclose(data["option_chance"].sel(tasks="known"), (1 / 2 + 1 / 3) / 2)
    np.testing.assert_allclose(data["option_chance"].sel(tasks="unseen"), 1 / 2)
    one = data.sel(tasks="known", shots=2)
    assert one["option_accuracy_low"] < one["option_accuracy"] < one["option_accuracy_high"]
    assert one["option_accuracy"].item() == 0.5  # the first of equal options: small is the label, positive is not


def test_questions_that_are_too_long_are_left_out():
    data = measured(Uniform(256), length=24)
    assert data["option_too_long"].sel(tasks="known", shots=0).item() == 0
    assert 0 < data["option_too_long"].sel(tasks="known", shots=2).item() <= 1
    assert "no question fits into 3 tokens" in measured(Uniform(256), length=3)["option_accuracy_not_applicable"].item()


def test_unseen_tasks_may_be_named():
    data = measured(Likes("plnt"), topics=1, unseen=[3])
    assert (data["option_accuracy"].sel(tasks="unseen") == 0).all()
    for wrong, text in (([1], "task 1 cannot be unseen: it is trained on"), ([9], "does not exist, there are 1 .. 3")):
        told = measured(Uniform(256), unseen=wrong)["option_accuracy_not_applicable"].item()
        assert text in told
    everything = measured(Uniform(256), topics="fresh")
    assert everything["option_accuracy"].sel(tasks="unseen").isnull().all()
    assert everything["option_accuracy"].sel(tasks="known").notnull().all()


def test_other_sources_ask_nothing():
    metric = {"kind": "option-accuracy"}
    data = iclkit.measure(Uniform(3), "mess3", [metric], length=8, sequences=8)
    assert "asks no questions" in data["option_accuracy_not_applicable"].item()


@pytest.mark.parametrize(("shots", "text"), [([], "needs at least one entry"), ([1, 1], "names one entry twice")])
def test_bad_settings_are_refused(shots, text):
    with pytest.raises(Exception, match=text):
        measured(Uniform(256), shots=shots)
