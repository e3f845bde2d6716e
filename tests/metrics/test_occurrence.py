"""Loss by occurrence: what the optimum, the bigram and the unigram of mr-name pay for a name, by hand."""

import math

import numpy as np
import pytest
import torch

import iclkit
from iclkit.api import CategoricalDistribution, StaticBigram, Uniform
from iclkit_metrics.occurrence.metric import occurrences

NAMES = {
    "source": {"kind": "mr-name"},
    "data": {"length": 40},
    "evaluation": {"sequences": 500},
    "metrics": [{"kind": "occurrence", "most": 4}],
}


def test_occurrences_are_counted_within_a_sequence():
    tokens = torch.tensor([[3, 3, 1, 3, 1], [0, 1, 2, 3, 0]])
    assert occurrences(tokens).tolist() == [[1, 2, 1, 3, 2], [1, 1, 1, 1, 2]]


def test_the_optimum_pays_for_the_first_name_only(measured):
    """The first token is a name in one of six sequences: ln 12; else it comes after "Mr.": ln 2."""
    data = measured(lambda ground: ground.references.predictors["population"], NAMES).sel(split="topics")
    first = math.log(12) / 6 + math.log(2) * 5 / 6
    loss, error = data["occurrence_loss"], data["occurrence_loss_se"]
    assert abs(loss.sel(occurrence=1).item() - first) < 4 * error.sel(occurrence=1).item()
    np.testing.assert_allclose(loss.sel(occurrence=[2, 3, 4]), 0, atol=1e-12)
    np.testing.assert_array_equal(data["occurrence_floor"].sel(reference="population"), loss)
    assert data["occurrence_share"].sel(occurrence=1).item() > 0.99
    assert (data["occurrence_share"].diff("occurrence") <= 0).all()


def test_a_bigram_pays_the_same_for_every_name(measured):
    def bigram(ground):
        first, pairs = ground.source.bigrams(ground.source.family, 40)
        mean = pairs.mean(0)
        return StaticBigram(mean / mean.sum(1, keepdim=True), first.mean(0))

    loss = measured(bigram, NAMES).sel(split="topics")["occurrence_loss"]
    np.testing.assert_allclose(loss.sel(occurrence=[2, 3, 4]), math.log(2))


class ByPosition:
    """Loses 1 nat at odd positions, 3 at even ones."""

    def log_prob(self, batch):
        return -(1.0 + 2 * (torch.arange(batch.length) % 2)).double().expand(batch.tokens.shape)

    def distribution(self, batch):
        return None


def test_every_token_counts_where_nothing_is_said(measured):
    """A coin that lands on heads only: the n-th token is the n-th occurrence."""
    tables = NAMES | {"source": {"kind": "coins", "biases": [1.0]}, "data": {"length": 3}}
    data = measured(lambda ground: ByPosition(), tables).sel(split="topics")
    np.testing.assert_array_equal(data["occurrence_loss"], [1, 3, 1, np.nan])
    np.testing.assert_array_equal(data["occurrence_share"], [1, 1, 1, 0])


def test_chosen_tokens_count_alone(measured):
    tables = NAMES | {"metrics": [{"kind": "occurrence", "tokens": [0], "most": 2}]}
    log_probs = torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1], dtype=torch.float64).log()

    class Static(ByPosition):
        def log_prob(self, batch):
            return log_probs[batch.tokens]

        def distribution(self, batch):
            return CategoricalDistribution(log_probs.repeat(*batch.tokens.shape, 1))

    data = measured(lambda ground: Static(), tables).sel(split="topics")
    np.testing.assert_allclose(data["occurrence_loss"], math.log(2))


class Constant(torch.nn.Module):
    """Logits that do not change."""

    def forward(self, inputs):  # (B, T) -> (B, T, 2)
        return torch.zeros(*inputs.shape, 2)


def test_without_a_begin_token_position_1_is_left_out_of_references_too():
    coins, metric = {"kind": "coins", "biases": [0.9, 0.9]}, {"kind": "occurrence", "most": 2}
    data = iclkit.measure(Constant(), coins, [metric], length=2, sequences=256, bos=False).sel(split="topics")
    np.testing.assert_allclose(data["occurrence_loss"], math.log(2), rtol=1e-6)
    share = data["occurrence_share"].values  # of position 2: another token than the first, or the same
    assert share.sum() == pytest.approx(1)
    np.testing.assert_allclose(
        data["occurrence_floor"].sel(reference="oracle", occurrence=2), -math.log(0.9), atol=0.05
    )


def test_a_model_that_rules_out_what_comes_is_infinitely_far_and_a_reference_is_left_out(measured):
    heads = NAMES | {"source": {"kind": "coins", "biases": [0.5, 1.0]}, "data": {"length": 2}}
    data = measured(lambda ground: StaticBigram(torch.eye(2), torch.tensor([0.0, 1.0])), heads).sel(split="topics")
    assert np.isposinf(data["occurrence_loss"].sel(occurrence=1).item())
    never = {"source": heads["source"], "data": {"topics": 1, "length": 2}}
    source = {"kind": "coins", "biases": [1.0, 0.5]}  # the one that is known lands on heads only
    data = measured(lambda ground: Uniform(2), NAMES | never | {"source": source}).sel(split="topics")
    assert np.isfinite(data["occurrence_floor"].sel(reference="mixture", occurrence=1))


@pytest.mark.parametrize(
    ("source", "table", "reason"),
    [("mr-name", {"tokens": [5]}, "tokens: 5 is none; allowed: 0 .. 4"), ("lds", {}, "never occurs twice")],
)
def test_what_has_no_meaning_is_left_out_with_the_reason(source, table, reason):
    model = iclkit.source(source).oracle() if source == "lds" else Uniform(5)
    data = iclkit.measure(model, iclkit.source(source), [{"kind": "occurrence", **table}], length=4, sequences=4)
    assert reason in data["occurrence_not_applicable"].item()


def test_text_needs_no_reference(measured, text):
    data = measured(lambda ground: Uniform(256), text | {"metrics": [{"kind": "occurrence", "most": 2}]})
    assert data["occurrence_loss"].sel(split="topics", occurrence=1).item() == pytest.approx(math.log(256))
    assert "occurrence_floor" not in data
