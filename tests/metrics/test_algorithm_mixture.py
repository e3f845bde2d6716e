"""A predictor that is a mixture gets its weights back."""

import numpy as np
import pytest
import torch

import iclkit
from iclkit.api import CategoricalDistribution, ContextBigram, ContextUnigram, Uniform

MARKOV = {"kind": "markov", "vocabulary": 4}
PREDICTORS = ["uniform", "context-unigram", "context-bigram"]


class Mixed:
    """At every position the same convex mixture of predictors."""

    def __init__(self, weights, predictors):
        self.weights, self.predictors = weights, predictors

    def log_prob(self, batch):
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch):
        parts = [predictor.distribution(batch).log_probs.exp() for predictor in self.predictors]
        return CategoricalDistribution(sum(w * part for w, part in zip(self.weights, parts, strict=True)).log())


def measured(model, source=MARKOV, topics=3, **config):
    metric = {"kind": "algorithm-mixture"} | config
    return iclkit.measure(model, source, [metric], length=16, sequences=64, topics=topics)


@pytest.mark.parametrize("weights", [(0.2, 0.3, 0.5), (0.0, 1.0, 0.0)])
def test_a_mixture_gets_its_weights_back(weights):
    model = Mixed(weights, [Uniform(4), ContextUnigram(4), ContextBigram(4)])
    data = measured(model, predictors=PREDICTORS)
    assert data["algorithm_weight"].dims == ("split", "predictor")
    assert data["split"].values.tolist() == ["sequences", "topics"]
    np.testing.assert_allclose(data["algorithm_weight"], np.tile(weights, (2, 1)), atol=3e-3)
    assert (data["algorithm_residual"] < 2e-6).all()
    assert (data["algorithm_identified"] == 1).all()
    assert (data["algorithm_kl"] >= data["algorithm_residual"] - 1e-12).all()


def test_each_reference_is_found_among_all_predictors():
    source = iclkit.source("mr-name", names=3)
    topics = source.topics(torch.arange(1, 3), None)
    mixture = source.mixture(topics, torch.ones(2, dtype=torch.float64))
    data = measured(mixture, source, topics=2, splits=["sequences"])
    best = data["algorithm_weight"].sel(split="sequences")
    assert best.sel(predictor="mixture") > 0.99
    assert data["algorithm_kl"].sel(split="sequences", predictor="mixture") == pytest.approx(0, abs=1e-9)
    assert {"oracle", "population", "static-bigram", "unigram-retrieval"} <= set(data["predictor"].values)
    assert "bigram-retrieval" not in data["predictor"].values, "authors are Markov chains: it is the mixture"


def test_what_is_outside_leaves_a_residual():
    class Other:
        def log_prob(self, batch):
            return self.distribution(batch).log_prob(batch.tokens)

        def distribution(self, batch):
            row = torch.tensor([0.1, 0.9], dtype=torch.float64).log()
            return CategoricalDistribution(row.expand(*batch.tokens.shape, 2))

    data = measured(Other(), {"kind": "coins", "biases": [0.5]}, "fresh", predictors=["uniform"])
    expected = np.log(2) + 0.1 * np.log(0.1) + 0.9 * np.log(0.9)
    np.testing.assert_allclose(data["algorithm_residual"], expected)
    np.testing.assert_allclose(data["algorithm_weight"], 1)


def test_what_cannot_be_mixed_is_told():
    real = iclkit.measure(Uniform(2), "lds", ["algorithm-mixture"], length=6, sequences=8)
    assert "predictions of real tokens" in real["algorithm_mixture_not_applicable"].item()
    told = measured(Uniform(4), predictors=["nonsense"])["algorithm_mixture_not_applicable"].item()
    assert told.startswith("there is no predictor nonsense here; there are oracle, mixture, population, uniform")
    told = measured(Uniform(4), splits=["train"])["algorithm_mixture_not_applicable"].item()
    assert told == "there is no split train in this cell; there are sequences, topics"
    told = measured(Uniform(5), "mr-name", topics=2, predictors=["static-bigram"])[
        "algorithm_mixture_not_applicable"
    ].item()
    assert "every predictor rules out a token that the model allows" in told
