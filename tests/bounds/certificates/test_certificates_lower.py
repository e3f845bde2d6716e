"""Lower limits against known answers, and certificates of models that come from elsewhere."""

import math

import numpy as np
import pytest
import torch

import iclkit
from iclkit.api import Uniform
from iclkit_bounds import betting
from iclkit_bounds.record import Certificate

FAIR = {"kind": "coins", "biases": [0.5]}
DRAWN = {"kind": "coins", "alpha": 1.0, "beta": 1.0}


def lower(source, length=16, topics="fresh", **settings):
    metric = {"kind": "lower-bound"} | settings
    return iclkit.measure(Uniform(2), source, [metric], length=length, topics=topics, sequences=200)


def test_a_fair_coin_costs_ln_2_and_its_topic_nothing():
    data = lower(FAIR, topics=1).sel(split="sequences")
    np.testing.assert_allclose(data["lower_bound_estimate"].sel(reference=["oracle", "mixture"]), math.log(2))
    limit = betting.lower_limit(np.full(200, math.log(2)), 0.0, 0.05)
    np.testing.assert_allclose(data["lower_bound"].sel(reference="oracle"), limit)
    assert data["topic_price"] == pytest.approx(0, abs=1e-12)
    assert data["lower_bound_valid"].sel(reference="oracle") == 1


def test_limits_lie_below_their_estimates_and_the_oracle_below_all():
    data = lower({"kind": "coins", "biases": [0.1, 0.5, 0.9]}, topics=2)
    there = data["lower_bound"].notnull()
    assert bool((data["lower_bound"] < data["lower_bound_estimate"]).where(there, True).all())
    estimate = data["lower_bound_estimate"]
    assert estimate.sel(split="sequences", reference="oracle") < estimate.sel(split="sequences", reference="mixture")
    assert bool((data["topic_price"] <= math.log(3) / 16).all())  # ln K bounds what can be inferred
    assert there.sel(split="sequences").values.tolist() == [True, True, False]
    assert there.sel(split="topics").values.tolist() == [True, False, True]


def test_the_price_of_a_drawn_coin_is_that_of_laplace_s_rule():
    data = lower(DRAWN, length=8).sel(split="topics")
    price, error = data["topic_price"].item(), data["topic_price_se"].item()
    heads = [math.log(9 * math.comb(8, k)) for k in range(9)]  # -ln P of a sequence with k heads, k uniform
    exact = sum(heads) / 9 / 8 - 0.5  # less the mean entropy of a coin of uniform bias, nats
    assert abs(price - exact) < 4 * error


def test_asymptotics_are_given_only_where_they_may_be_used():
    short, long = lower(DRAWN, length=16), lower(DRAWN, length=64, parameters=1)
    assert short["topic_price_asymptotic"].isnull().all()
    record = Certificate.from_json(str(short["lower_bound_record"].sel(split="topics", reference="population").item()))
    assert "not to be used at T = 16: for k = 2 parameters it needs T > 40" in record.warnings[0]
    assert long["topic_price_asymptotic"].sel(split="topics") == pytest.approx(math.log(64) / 128)
    price, error = (long[name].sel(split="topics").item() for name in ("topic_price", "topic_price_se"))
    assert abs(price - math.log(64) / 128) < 0.3 * price + 4 * error


def test_unequal_weights_and_topics_without_sequences_are_told():
    data = lower({"kind": "coins", "biases": [0.1, 0.9], "weights": [0.8, 0.2]}, topics=2)
    record = Certificate.from_json(str(data["lower_bound_record"].sel(split="sequences", reference="oracle").item()))
    assert "unequal weights" in record.why_invalid["units_independent"]
    estimate = data["lower_bound_estimate"].sel(split="sequences", reference="oracle").item()
    assert estimate == pytest.approx(-0.1 * math.log(0.1) - 0.9 * math.log(0.9), abs=0.03)


def test_real_tokens_have_a_normal_limit_that_is_marked():
    class Nothing:
        def log_prob(self, batch):
            return torch.zeros(batch.tokens.shape[:2], dtype=torch.float64)

        def distribution(self, batch):
            return None

    data = iclkit.measure(Nothing(), "lds", ["lower-bound"], length=4, sequences=40)
    text = next(str(text) for text in data["lower_bound_record"].values.ravel() if text)
    record = Certificate.from_json(text)
    assert record.components["limit"] == "normal"
    assert "asymptotic" in record.why_invalid["validity_scope"]


@pytest.mark.parametrize("metric", ["token-bound", "optimisation-error"])
def test_training_data_of_a_model_from_elsewhere_are_not_known(metric):
    data = iclkit.measure(Uniform(2), FAIR, [metric], length=8, sequences=20)
    assert "trained elsewhere" in data[f"{metric}_not_applicable".replace("-", "_")].item()


def test_a_module_can_be_given_other_weights():
    from iclkit.measured import GivenModel
    from iclkit.plan import load
    from iclkit.plugins import load as load_plugins

    class Bias(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = torch.nn.Parameter(torch.zeros(2))

        def forward(self, inputs):
            return self.logits.expand(*inputs.shape, 2)

    config = load(None, {"source": FAIR, "data": {"length": 4}}, load_plugins()).cells[0].config
    models = GivenModel(Bias(), config)
    other = models.with_weights({"logits": torch.tensor([0.0, 1.0])})
    assert other.module.logits.tolist() == [0.0, 1.0]
    assert models[0].module.logits.tolist() == [0.0, 0.0]
