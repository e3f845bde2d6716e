"""Divergences that are known, and predictors that are their own nearest."""

import math

import numpy as np
import pytest
import torch

from iclkit import engine
from iclkit.api import CategoricalDistribution, ContextBigram, GaussianDistribution, Uniform, naive_predictors
from iclkit.cube import open_cube
from iclkit_metrics.divergence import hellinger
from iclkit_metrics.families import family_of

COINS = {
    "source": {"kind": "coins", "biases": [0.2, 0.5, 0.9]},
    "data": {"topics": 2, "length": 6},
    "metrics": [{"kind": "divergence"}],
}
MARKOV = {
    "source": {"kind": "markov", "vocabulary": 3},
    "data": {"topics": 3, "length": 24},
    "metrics": [{"kind": "divergence"}],
}
LDS = {"source": {"kind": "lds", "dimension": 2}, "data": {"topics": 3, "length": 5}, "metrics": COINS["metrics"]}


def test_a_predictor_that_is_the_mixture_is_at_no_distance(measured):
    data = measured(lambda ground: ground.references.predictors["mixture"], COINS)
    own = data.sel(split="sequences")
    assert float(abs(own["kl"].sel(reference="mixture")).max()) < 1e-12
    assert own["distance"].sel(predictor="mixture").item() < 1e-12
    assert own["nearest"].item() == "mixture"  # and not the retrieval that predicts the same
    assert (own["kl"].sel(reference=["oracle", "population"]) > 1e-3).all()


def test_kl_is_that_of_the_definition(measured):
    data = measured(lambda ground: Uniform(2), COINS)
    bias = np.array([0.2, 0.5])
    entropy = -(bias * np.log(bias) + (1 - bias) * np.log(1 - bias)).mean()
    kl = data["kl"].sel(reference="oracle", split="sequences")
    np.testing.assert_allclose(kl, math.log(2) - entropy, rtol=1e-12)
    first = data["kl"].sel(reference="mixture", split="topics", position=1).item()  # the prior mean of two coins
    assert first == pytest.approx(0.35 * math.log(0.7) + 0.65 * math.log(1.3))


def test_kl_against_the_oracle_and_the_optimum_are_regret_and_excess(measured):
    tables = MARKOV | {"data": {"topics": 3, "length": 8}, "metrics": [{"kind": "loss"}, {"kind": "divergence"}]}
    data = measured(lambda ground: ContextBigram(3), tables)
    for split, optimum in (("sequences", "mixture"), ("topics", "population")):
        one = data.sel(split=split)
        np.testing.assert_array_equal(one["kl"].sel(reference="oracle"), one["regret"])
        np.testing.assert_array_equal(one["kl"].sel(reference=optimum), one["excess"])
        np.testing.assert_array_equal(one["kl_se"].sel(reference="oracle"), one["regret_se"])


NAMED = ["oracle", "mixture", "uniform", "static-unigram", "static-bigram", "context-unigram", "unigram-retrieval"]
EQUAL = {"bigram-retrieval": "mixture", "context-bigram": "population"}  # for Markov chains with uniform rows


@pytest.mark.parametrize("name", [*NAMED, *EQUAL])
def test_every_named_predictor_is_its_own_nearest(measured, name):
    def model(ground):
        if name in ground.references.predictors:
            return ground.references.predictors[name]
        cell = ground.cell(ground.config.metrics[0])
        family = family_of(cell)
        made = naive_predictors(cell.source, cell.facts, family.topics, family.weights, iter(()), cell.length)
        return made[name]

    data = measured(model, MARKOV)
    assert data["nearest"].sel(split="sequences").item() == EQUAL.get(name, name)
    assert data["distance"].sel(split="sequences", predictor=name).item() < 1e-12


def test_all_snapshots_and_splits_are_measured(tiny, planned, found):
    tiny["data"] |= {"topics": 2}
    tiny["metrics"] = [{"kind": "divergence"}, {"kind": "divergence", "name": "again"}]
    made = planned(tiny)
    engine.run(made, found).check()
    data = open_cube(made.folder).load().isel(seed=0)
    assert data["nearest"].dims == ("step", "split")
    assert (data["nearest"] != "").all()
    assert data["kl"].notnull().all()
    np.testing.assert_array_equal(data["again_kl"], data["kl"])
    assert (data["again_nearest"] == data["nearest"]).all()


def test_large_vocabularies_and_real_tokens_have_no_naive_predictors(measured):
    data = measured(lambda ground: Uniform(3), MARKOV | {"metrics": [{"kind": "divergence", "largest_vocabulary": 2}]})
    assert data["predictor"].values.tolist() == ["oracle", "mixture", "population"]
    real = measured(lambda ground: ground.references.predictors["oracle"], LDS)
    assert "uniform" not in real["predictor"].values
    assert (real["nearest"] == "oracle").all()
    assert float(abs(real["kl"].sel(reference="oracle")).max()) < 1e-12


def test_without_a_closed_form_the_realised_ratio_stands_in_only_where_the_reference_is_the_law(measured):
    kl = measured(lambda ground: ground.references.predictors["mixture"], LDS)["kl"]  # a mixture of Gaussians
    assert kl.sel(reference="oracle").notnull().all()
    np.testing.assert_array_equal(kl.sel(reference="mixture", split="sequences"), 0)
    assert kl.sel(reference="mixture", split="topics").isnull().all()


def test_without_references_the_naive_predictors_are_left(measured, text):
    data = measured(lambda ground: Uniform(256), text | {"metrics": [{"kind": "divergence"}]})
    assert "kl" not in data
    assert (data["nearest"] == "uniform").all()


def test_hellinger_by_hand_and_by_quadrature():
    p, q = torch.tensor([[[0.2, 0.8]]]), torch.tensor([[[1.0, 0.0]]])
    found = hellinger.from_all([CategoricalDistribution(each.double().log()) for each in (p, q)])
    far, none = found(CategoricalDistribution(q.double().log())).flatten()
    assert far.item() == pytest.approx(1 - math.sqrt(0.2))
    assert none.item() == 0
    x = torch.linspace(-30, 30, 200_001, dtype=torch.float64)
    normal = [torch.exp(-((x - m) ** 2) / (2 * s * s)) / math.sqrt(2 * math.pi * s * s) for m, s in ((0, 1), (1.5, 2))]
    expected = 1 - torch.trapezoid((normal[0] * normal[1]).sqrt(), x).item()
    one = GaussianDistribution(torch.zeros(1, 1, 1).double(), torch.ones(1, 1, 1).double())
    other = GaussianDistribution(torch.full((1, 1, 1), 1.5).double(), torch.full((1, 1, 1, 1), 2.0).double())
    assert hellinger.from_all([one])(other).item() == pytest.approx(expected, rel=1e-6)
    assert math.isnan(hellinger.from_all([None])(other).item())
