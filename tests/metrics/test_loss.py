"""The loss and what follows from it, of predictors whose losses are known."""

import math

import numpy as np
import pytest
import torch
from attrs import evolve
from torch import Tensor

import iclkit
from iclkit.api import ContextUnigram, Uniform
from iclkit.measured import Ground
from iclkit_metrics.loss.metric import Loss

COINS = {
    "source": {"kind": "coins", "biases": [0.2, 0.5, 0.9]},
    "data": {"topics": 2, "sequences": 32, "length": 10},
    "metrics": [{"kind": "loss"}],
}
UNIFORM_PRIOR = {
    "source": {"kind": "coins", "alpha": 1.0, "beta": 1.0},
    "data": {"length": 12},
    "metrics": [{"kind": "loss"}],
}
BIT = math.log(2)


def entropy(p):
    return -(p * np.log(p) + (1 - p) * np.log1p(-p))


def test_the_mixture_has_no_excess_and_the_information_about_the_topic_is_its_loss_above_the_oracle(measured):
    data = measured(lambda ground: ground.references.predictors["mixture"], COINS | {"evaluation": {"sequences": 4000}})
    own = data.sel(split="sequences")
    for name in ("excess", "relative_loss"):
        assert float(abs(own[name]).max()) < 1e-12
    exact = own["optimum"].sel(reference="mixture") - own["optimum"].sel(reference="oracle")
    for first in (1, 2):
        kl = own.sel(first_position=first)
        assert abs(kl["oracle_kl"] - exact.sel(position=slice(first, None)).mean()) < 4 * kl["oracle_kl_se"]
        assert abs(kl["log_ratio"] - kl["oracle_kl"]) < 4 * kl["log_ratio_se"]


def test_the_oracle_loses_nothing_on_any_split(measured):
    data = measured(lambda ground: ground.references.predictors["oracle"], COINS, train=True)
    assert data["split"].values.tolist() == ["train", "sequences", "topics"]
    for name in ("log_ratio", "oracle_kl", "sequence_gap", "topic_gap"):
        assert float(abs(data[name]).max()) < 1e-12


def test_the_three_losses_and_their_gaps_are_those_of_the_definitions(cell_of, measured):
    """Of the uniform predictor: ln P_oracle + ln 2 on the tokens of train, ln 2 - H(w) on the others."""
    data = measured(lambda ground: Uniform(2), COINS, train=True)
    ground = cell_of(lambda ground: Uniform(2), COINS, train=True)
    train = next(split for split in ground.splits if split.name == "train").chunk(slice(None))
    bias = train.topics.bias[train.topic][:, None]
    ratio = torch.where(train.tokens == 1, bias, 1 - bias).log() + math.log(2)
    for first in (1, 2):
        one = data.sel(first_position=first)
        empirical = float(ratio[:, first - 1 :].mean())
        first_level = math.log(2) - entropy(np.array([0.2, 0.5])).mean()
        population = math.log(2) - entropy(np.array([0.2, 0.5, 0.9])).mean()
        assert one["log_ratio"].sel(split="train").item() == pytest.approx(empirical)
        assert one["oracle_kl"].sel(split="train").item() == pytest.approx(first_level)
        assert one["oracle_kl"].sel(split="sequences").item() == pytest.approx(first_level)
        assert one["oracle_kl"].sel(split="topics").item() == pytest.approx(population)
        assert one["sequence_gap"].item() == pytest.approx(first_level - empirical)
        assert one["topic_gap"].item() == pytest.approx(population - first_level)
        assert one["sequence_gap_se"].item() == pytest.approx(one["log_ratio_se"].sel(split="train").item())


def test_position_1_counts_in_one_average_only(measured):
    data = measured(lambda ground: ContextUnigram(2), COINS).sel(split="sequences")
    by_position = data["regret"]
    assert data["oracle_kl"].sel(first_position=1).item() == pytest.approx(by_position.mean().item())
    assert data["oracle_kl"].sel(first_position=2).item() == pytest.approx(by_position[1:].mean().item())


def test_relative_loss_is_the_loss_in_units_of_the_floor(measured):
    tables = COINS | {"evaluation": {"sequences": 2000}, "data": {"topics": 2, "sequences": 1000, "length": 10}}
    data = measured(lambda ground: Uniform(2), tables, train=True)
    train = data.sel(split="train")
    expected = math.log(2) / train["floor"].sel(reference="mixture") - 1
    np.testing.assert_allclose(train["relative_loss"], expected, rtol=1e-12)
    for split, reference in (("sequences", "mixture"), ("topics", "population")):
        one = data.sel(split=split)
        exact = math.log(2) / one["optimum"].sel(reference=reference) - 1
        off = abs(one["relative_loss"] - exact) / one["relative_loss_se"]
        assert (off[1:] < 4).all()
        assert one["relative_loss"][0] == pytest.approx(exact[0].item())


def test_relative_loss_is_undefined_where_nothing_is_uncertain(measured):
    """A coin that always lands on one side: h = 0."""
    tables = COINS | {"source": {"kind": "coins", "biases": [1.0]}, "data": {"length": 4}}
    assert measured(lambda ground: Uniform(2), tables)["relative_loss"].isnull().all()


def test_real_tokens_have_the_losses_but_no_relative_one(measured):
    tables = {
        "source": {"kind": "lds", "dimension": 2},
        "data": {"topics": 3, "length": 6},
        "metrics": [{"kind": "loss"}],
    }
    data = measured(lambda ground: ground.references.predictors["oracle"], tables)
    assert "relative_loss" not in data
    assert float(abs(data["oracle_kl"]).max()) < 1e-12
    mixed = measured(lambda ground: ground.references.predictors["mixture"], tables)
    assert mixed["oracle_kl"].sel(split="sequences").notnull().all()  # realised: the mixture has no closed form


def test_without_an_oracle_there_are_no_losses_above_it(measured, text):
    data = measured(lambda ground: Uniform(256), text | {"metrics": [{"kind": "loss"}]})
    assert "loss" in data
    assert not {"log_ratio", "oracle_kl", "topic_gap", "relative_loss"} & set(data)


def exact_excess(length, alpha):
    """E KL(Laplace, context unigram of alpha) under the uniform prior, by counts, each as likely as any other."""
    excess = []
    for seen in range(length):
        heads = np.arange(seen + 1)
        right, wrong = (heads + 1) / (seen + 2), (heads + alpha) / (seen + 2 * alpha)
        divergence = right * np.log(right / wrong) + (1 - right) * np.log((1 - right) / (1 - wrong))
        excess.append(divergence.mean())
    return np.array(excess)


def test_excess_is_accurate_to_a_ten_thousandth_of_a_bit(measured):
    tables = UNIFORM_PRIOR | {"evaluation": {"sequences": 4096}}
    data = measured(lambda ground: ContextUnigram(2, alpha=1.3), tables).sel(split="topics")
    off = abs(data["excess"] - exact_excess(12, 1.3)) / BIT
    assert float(off.max()) < 1e-4
    assert (data["excess_se"] / BIT < 5e-5).all()
    assert (off * BIT <= 4.5 * data["excess_se"] + 1e-15).all()


class Stubborn:
    """Always sure of heads, 0.7."""

    def log_prob(self, batch) -> Tensor:
        return torch.where(batch.tokens == 1, 0.7, 0.3).log().double()

    def distribution(self, batch):
        return None


def test_errors_clustered_by_topic_cover_the_truth_in_95_of_100_repetitions(cell_of):
    """Fresh coins with five sequences each; E -ln q = -(ln .7 + ln .3) / 2 under the uniform prior."""
    tables = UNIFORM_PRIOR | {"data": {"length": 2}, "evaluation": {"sequences": 250, "topics": 50}}
    ground = cell_of(lambda ground: Stubborn(), tables)
    covered, truth = 0, -(math.log(0.7) + math.log(0.3)) / 2
    for seed in range(200):
        config = evolve(ground.config, seeds=evolve(ground.config.seeds, evaluation=seed))
        repeated = Ground(config, ground.models, None)
        (split,) = repeated.splits
        scored = evolve(repeated.batch(split, slice(None)), model=Stubborn())
        reducer = split.reducer()
        reducer.add(Loss(None).score(scored)["loss"].numpy(), split.groups.numpy())
        mean, error, _ = reducer.result()
        covered += abs(mean[1] - truth) <= 1.96 * error[1]
    assert 180 <= covered <= 198  # 190 +- 3.2 standard deviations, on the low side for 49 degrees of freedom


def test_a_model_that_rules_out_what_happens_is_infinitely_far():
    class Never:
        def log_prob(self, batch):
            return torch.full(batch.tokens.shape, -torch.inf, dtype=torch.float64)

        def distribution(self, batch):
            return None

    data = iclkit.measure(Never(), {"kind": "coins", "biases": [0.2, 0.7]}, ["loss"], 4, sequences=8)
    assert np.isposinf(data["loss"]).all()
    assert np.isposinf(data["excess"]).all()
