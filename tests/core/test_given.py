"""Models from elsewhere: any module or predictor is measured as a trained one, without a run folder."""

import numpy as np
import pytest
import torch
from torch import nn

import iclkit
from iclkit.errors import ConfigError, UsageError

BIASES = [0.2, 0.5, 0.9]


def test_the_exact_mixture_given_as_a_model_has_no_excess():
    source = iclkit.source("coins", biases=BIASES)
    topics = source.topics(torch.arange(1, 4), None)
    mixture = source.mixture(topics, torch.full((3,), 1 / 3, dtype=torch.float64))
    data = iclkit.measure(mixture, source, length=12, sequences=64)
    assert set(data.dims) >= {"split", "position", "reference"}
    assert "step" not in data.dims
    assert data["split"].values.tolist() == ["topics"]
    assert float(abs(data["excess"]).max()) < 1e-12
    np.testing.assert_allclose(data["loss"], data["floor"].sel(reference="population"), atol=1e-12)


class Uniform(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(size))
        self.largest = 0

    def forward(self, inputs):  # (B, T) -> (B, T, V)
        self.largest = max(self.largest, int(inputs.max()))
        return self.logits.expand(*inputs.shape, -1)


@pytest.mark.parametrize("bos", [True, False])
def test_any_module_is_measured(bos):
    module = Uniform(2).train(bos)
    data = iclkit.measure(module, {"kind": "coins", "biases": BIASES}, ["loss"], 8, topics=3, sequences=32, bos=bos)
    assert data["split"].values.tolist() == ["sequences", "topics"]
    loss = data["loss"].values if bos else data["loss"].values[:, 1:]
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)
    assert module.largest == (2 if bos else 1)
    assert module.training == bos
    again = iclkit.measure(module, iclkit.source("coins", biases=BIASES), ["loss"], 8, topics=3, sequences=32, bos=bos)
    assert again.identical(data)


@pytest.mark.parametrize(
    ("module", "bos", "told"),
    [
        (nn.Embedding(2, 2), True, r"fails on inputs int64 \(2, 8\) of indices 0 .. 2; bos = False leaves"),
        (nn.Embedding(3, 3), True, r"returns a tensor \(2, 8, 3\); allowed: a tensor \(2, 8, 2\)"),
        (nn.Embedding(1, 2), False, r"fails on inputs int64 \(2, 7\) of indices 0 .. 1: IndexError"),
        (nn.GRU(1, 2), True, "fails on inputs"),
    ],
)
def test_a_module_of_other_inputs_or_outputs_is_told_what_is_expected(module, bos, told):
    with pytest.raises(UsageError, match=told):
        iclkit.measure(module, {"kind": "coins", "biases": BIASES}, ["loss"], 8, bos=bos)
    assert len(list(iclkit.measure(nn.Embedding(3, 2), "coins", ["loss"], 8, sequences=8)["loss"].dims)) == 2


def test_metrics_are_a_list():
    with pytest.raises(UsageError, match="give a list"):
        iclkit.measure(Uniform(2), "coins", "loss")


def test_what_cannot_be_measured_is_told():
    with pytest.raises(UsageError, match="a Predictor with log_prob"):
        iclkit.measure(lambda batch: batch, "mess3")
    with pytest.raises(UsageError, match="is not known; give a name"):
        iclkit.measure(Uniform(3), object())
    with pytest.raises(ConfigError, match=r'metrics\[0\].*did you mean "loss"'):
        iclkit.measure(Uniform(3), "mess3", ["los"])
