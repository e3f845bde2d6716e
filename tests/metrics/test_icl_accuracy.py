"""Readers given as models have their own accuracy; what cannot be asked is told."""

import numpy as np
import pytest
import torch

import iclkit
from iclkit.api import CategoricalDistribution, ContextBigram, Key, NotApplicable, Uniform, mixture_over
from iclkit_metrics.icl_accuracy.prompts import grid, reordered
from iclkit_metrics.wilson import wilson

V = 12
GINC = {"kind": "ginc", "entities": 4, "properties": 5, "symbols": V}


def measured(model, source=GINC, length=40, topics=3, **config):
    metric = {"kind": "icl-accuracy", "prompts": 200, "lengths": [3, 5], "permutations": 3} | config
    return iclkit.measure(model, source, [metric], length=length, sequences=8, topics=topics)


class Last:
    """Looks at the last token, which is the label."""

    def log_prob(self, batch):
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch):
        return CategoricalDistribution(torch.nn.functional.one_hot(batch.tokens, V).double().log())


@pytest.mark.parametrize("examples", ["in-distribution", "out-of-distribution"])
def test_one_who_knows_the_labels_is_always_right_and_a_reader_has_its_own_accuracy(examples):
    data = measured(Last(), examples=examples)
    assert data["shots"].values.tolist() == [0, 1, 2, 4, 8]
    fits = np.array([[True] * 5, [True] * 4 + [False]])
    np.testing.assert_array_equal(data["icl_accuracy"], np.where(fits, 1, np.nan))
    assert data["icl_accuracy_high"].values[fits] == pytest.approx(1)
    assert (data["icl_accuracy_low"].values[fits] > 0.9).all()
    assert (data["icl_order_sensitivity"].values[fits][np.tile(data["shots"], 2).reshape(2, 5)[fits] > 1] == 0).all()
    assert data["icl_impossible"].max() > 0 if examples == "out-of-distribution" else data["icl_impossible"].max() == 0
    bigram = measured(ContextBigram(V), examples=examples)
    told = bigram["reader_accuracy"].sel(reader="context_bigram")
    np.testing.assert_array_equal(bigram["icl_accuracy"], told)
    ceiling = bigram["reader_accuracy"].sel(reader="ceiling").values
    readers = bigram["reader_accuracy"].drop_sel(reader=["ceiling", "pretraining_optimal"]).max("reader").values
    assert (ceiling >= readers - 0.1)[fits].all(), "the majority label is told by hindsight"
    np.testing.assert_allclose(bigram["reader_accuracy"].sel(reader="uniform").values[fits], 1 / V)


def test_the_mixture_given_as_a_model_is_the_pretraining_optimal_reader():
    source = iclkit.source(GINC["kind"], **{key: value for key, value in GINC.items() if key != "kind"})
    numbers = torch.arange(1, 4)
    topics = source.topics(numbers, Key.root(0).fold("topics").fold(numbers))
    mixture = mixture_over(source, topics, torch.ones(3, dtype=torch.float64))
    data = measured(mixture, shots=[0, 2])
    told = data["reader_accuracy"].sel(reader="pretraining_optimal")
    possible = 1 - data["reader_impossible"].sel(reader="pretraining_optimal")
    np.testing.assert_allclose(data["icl_accuracy"], told * possible, atol=1e-12)
    leaky = data["reader_impossible"].sel(reader="pretraining_optimal_leaky")
    assert (leaky == 0).all()
    assert (data["reader_accuracy"].sel(reader="ceiling", shots=2) > told.sel(shots=2)).all()


@pytest.mark.parametrize("topics", ["fresh", [2, 3], "known"])
def test_topics_are_chosen(topics):
    data = measured_topics(topics)
    assert np.isfinite(data["icl_accuracy"]).all()
    assert (data["reader_impossible"].sel(reader="ceiling") == 0).all()


def measured_topics(topics):
    metric = {"kind": "icl-accuracy", "prompts": 50, "lengths": [4], "shots": [0, 3], "topics": topics, "fresh": 6}
    return iclkit.measure(Uniform(V), GINC, [metric], length=24, sequences=8, topics=3)


def test_ceiling_is_bayes_by_enumeration():
    """Of all prompts of one shot with equal tokens, no answer is right more often than the ceiling's."""
    source = iclkit.source("ginc", entities=2, properties=3, symbols=4)
    numbers = torch.arange(1, 3)
    topics = source.topics(numbers, Key.root(1).fold(numbers))
    prompts = source.prompts(topics, 1, 2, 40_000, Key.root(0))
    answer, right = prompts.ceiling(), {}
    for tokens, label, told in zip(prompts.tokens.tolist(), prompts.label.tolist(), answer.tolist(), strict=True):
        counts = right.setdefault(tuple(tokens), ([0] * 4, told))
        assert counts[1] == told
        counts[0][label] += 1
    best = sum(max(counts) for counts, _ in right.values())
    reached = sum(counts[told] for counts, told in right.values())
    assert reached / best > 0.995
    assert reached < best * 1.0001


@pytest.mark.slow
def test_the_mixture_is_no_ceiling_on_ginc_prompts():
    """At V = 50, L = 3, n = 0 1 4 16: one who knows the prompt process reaches 1, the mixture of topics does not."""
    shots = [0, 1, 4, 16]
    metric = {"kind": "icl-accuracy", "prompts": 1000, "lengths": [3], "shots": shots, "permutations": 0}
    data = iclkit.measure(Uniform(50), "ginc", [metric], length=68, sequences=8, topics=5)
    ceiling = data["reader_accuracy"].sel(reader="ceiling", example_length=3)
    np.testing.assert_allclose(ceiling, [0.63, 0.96, 1.0, 1.0], atol=0.08)
    assert (ceiling[2:] > 0.99).all()
    leaky = data["reader_accuracy"].sel(reader="pretraining_optimal_leaky", example_length=3)
    np.testing.assert_allclose(leaky, [0.58, 0.65, 0.71, 0.69], atol=0.1)
    assert float(ceiling[-1] - leaky[-1]) > 0.2


def test_examples_change_places_and_nothing_else():
    source = iclkit.source("ginc")
    numbers = torch.arange(1, 3)
    prompts = source.prompts(source.topics(numbers, Key.root(1).fold(numbers)), 3, 4, 50, Key.root(0))
    before, after = prompts.batch(), reordered(prompts.batch(), 3, 4, Key.root(9))
    assert torch.equal(before.tokens[:, 15:], after.tokens[:, 15:])
    one, other = (batch.tokens[:, :15].view(-1, 3, 5).tolist() for batch in (before, after))
    assert [sorted(examples) for examples in one] == [sorted(examples) for examples in other]
    assert not torch.equal(before.tokens, after.tokens)


def test_wilson_intervals():
    low, high = wilson(np.array([0.0, 0.5, 1.0]), np.array([10.0, 10.0, 10.0]))
    np.testing.assert_allclose(low, [0, 0.2366, 0.7225], atol=1e-4)
    np.testing.assert_allclose(high, [0.2775, 0.7634, 1], atol=1e-4)


def test_what_does_not_fit_is_told():
    with pytest.raises(NotApplicable, match=r"4 examples of 3 tokens .* \(L \+ 1\) n \+ L = 19 positions, .* has 18"):
        grid((0, 4), (3,), 18)
    assert all(grid((0, 4), (3,), 19).values())
    assert grid(None, (3,), 18) == {(3, 0): True, (3, 1): True, (3, 2): True}
    with pytest.raises(NotApplicable, match="0 examples of 3 tokens"):
        grid(None, (3,), 2)
    told = measured(Uniform(V), shots=[16])["icl_accuracy_not_applicable"].item()
    assert "16 examples of 3 tokens" in told
    assert "makes no prompts" in measured(Uniform(3), "mess3", topics="fresh")["icl_accuracy_not_applicable"].item()
    assert 'choose topics = "fresh"' in measured(Uniform(V), topics="fresh")["icl_accuracy_not_applicable"].item()
    assert "topic 9 is not known here" in measured_topics([1, 9])["icl_accuracy_not_applicable"].item()
