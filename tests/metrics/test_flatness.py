"""Where the loss is quadratic in the weights, the rise under noise is known."""

import numpy as np
import pytest
import torch
from torch import nn

import iclkit
from iclkit.api import Uniform

LDS = {"kind": "lds", "dimension": 2, "noise": 0.5}
SCALES = [0.1, 0.2]


class Constant(nn.Module):
    """Predicts one mean: the loss is |x - mean|^2 / (2 sigma^2) and a constant."""

    def __init__(self, dim):
        super().__init__()
        self.mean = nn.Parameter(torch.full((dim,), 0.3, dtype=torch.float64))

    def forward(self, inputs):  # (B, T, D + 1) -> (B, T, D)
        return self.mean.expand(*inputs.shape[:2], -1)


def measured(model, source=LDS, **config):
    return iclkit.measure(model, source, [{"kind": "flatness", "scales": SCALES} | config], length=6, sequences=16)


@pytest.mark.parametrize("relative", [False, True])
def test_the_rise_of_a_gaussian_mean_is_known(relative):
    """E|s z|^2 / (2 sigma^2) = d s^2 / (2 sigma^2), and draws with both signs have nothing else."""
    model = Constant(2)
    data = measured(model, relative=relative, replicates=200)
    size = 0.3 if relative else 1.0
    expected = 2 * (size * np.array(SCALES)) ** 2 / (2 * 0.5**2)
    assert (abs(data["flatness"] - expected) < 4 * data["flatness_se"]).all()
    np.testing.assert_allclose(data["flatness_se"] / expected, 1 / np.sqrt(200), rtol=0.2)  # chi^2 with 2 degrees
    np.testing.assert_allclose(data["flatness"][1] / data["flatness"][0], 4, rtol=1e-9)
    assert torch.equal(model.mean, torch.full((2,), 0.3, dtype=torch.float64)), "weights have their values back"
    assert data["flatness"].attrs["split"] == "topics"


class Logits(nn.Module):
    """Predicts one distribution, uniform as it stands."""

    def __init__(self, size):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(size, dtype=torch.float64))

    def forward(self, inputs):
        return self.logits.expand(*inputs.shape, -1)


@pytest.mark.parametrize("bos", [True, False])
def test_the_rise_of_logits_is_that_of_the_log_partition_function(bos):
    """E ln sum_v exp(s z_v) - ln V, whatever the tokens: (s^2 / 2) (1 - 1/V) for small s."""
    metric = {"kind": "flatness", "scales": [0.05], "relative": False, "replicates": 300}
    data = iclkit.measure(Logits(3), "mess3", [metric], length=5, sequences=16, bos=bos)
    rise, error = data["flatness"].item(), data["flatness_se"].item()
    assert abs(rise - 0.05**2 / 2 * (1 - 1 / 3)) < 4 * error
    assert data["flatness_loss"].item() == pytest.approx(np.log(3))


def test_a_predictor_without_weights_is_told():
    told = measured(Uniform(3), "mess3")["flatness_not_applicable"].item()
    assert told == "Uniform is no torch module, so it has no weights to disturb"
