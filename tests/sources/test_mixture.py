"""Mixtures: vocabulary maps, nesting, and the generic path against the compiled one."""

import itertools
import math

import numpy as np
import pytest
import torch

from iclkit.api import Batch, Key
from iclkit.predictors import mixture_over
from iclkit_sources.machines.listed import MachineSource
from iclkit_sources.mixtures.components import ComponentMixture


def three(kit):
    return {
        "components": (
            kit.component("coins", biases=(0.2, 0.7), weights=(1.0, 3.0)),
            kit.component("golden-mean", p=0.4),
            kit.component("mess3", x=0.1, a=0.7),
        ),
        "weights": (2.0, 1.0, 1.0),
        "vocabularies": ((0, 1), (1, 0), (1, 2, 3)),
    }


def both(kit):
    """Return a compiled mixture and the same one component by component, with their topics and weights."""
    part = kit.component("mixture", **three(kit))
    compiled = part.build()
    generic = ComponentMixture(part.config, [each.build() for each in part.config.components])
    weights = torch.tensor(part.facts.topics.weights, dtype=torch.float64)
    assert isinstance(compiled, MachineSource)
    return [(each, kit.topics_of(each, range(1, 5)), weights) for each in (compiled, generic)]


def test_topics_are_components_times_their_topics(kit):
    facts = kit.component("mixture", **three(kit)).facts
    assert facts.space.size == 4
    assert facts.topics.weights == pytest.approx((0.125, 0.375, 0.25, 0.25))
    assert facts.references == ("oracle", "mixture", "population")


def test_generic_path_is_the_compiled_one(kit):
    (compiled, machines, weights), (generic, topics, _) = both(kit)
    words = list(itertools.product(range(4), repeat=4))
    np.testing.assert_allclose(weights, compiled.weights)
    with np.errstate(invalid="ignore"):
        for k in range(4):
            one, two = (
                source.oracle().distribution(kit.batch_of(words, each, [k] * len(words))).log_probs.exp()
                for source, each in ((compiled, machines), (generic, topics))
            )
            np.testing.assert_allclose(one, two.masked_fill(one.isnan(), torch.nan), atol=1e-12)
        law = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
        for chunk in (2, 64):
            one, two = (
                mixture_over(source, each, law, chunk).distribution(kit.batch_of(words)).log_probs.exp()
                for source, each in ((compiled, machines), (generic, topics))
            )
            np.testing.assert_allclose(one, two, atol=1e-12)
        one, two = (source.population().log_prob(kit.batch_of(words)) for source in (compiled, generic))
        np.testing.assert_allclose(one, two, atol=1e-12)
    one, two = (
        source.optimum("oracle", each, weights, 8) for source, each in ((compiled, machines), (generic, topics))
    )
    np.testing.assert_allclose(one.values, two.values, atol=1e-12)
    assert two.method == "belief-enumeration"
    assert generic.optimum("mixture", topics, weights, 8) is None
    draws = [kit.draw(source, each, [3, 3], 30) for source, each in ((compiled, machines), (generic, topics))]
    assert torch.equal(draws[0].tokens, draws[1].tokens)


def test_nesting_multiplies_weights_and_maps(kit):
    inner = kit.component("mixture", **three(kit))
    outer = kit.component(
        "mixture",
        components=(inner, kit.component("even")),
        weights=(1.0, 1.0),
        vocabularies=((4, 3, 2, 0), (0, 1)),
    )
    source, topics, weights = kit.listed(
        "mixture", components=outer.config.components, weights=(1.0, 1.0), vocabularies=((4, 3, 2, 0), (0, 1))
    )
    assert isinstance(source, MachineSource)
    assert weights.tolist() == pytest.approx([0.0625, 0.1875, 0.125, 0.125, 0.5])
    tokens = kit.draw(source, topics, [2] * 50, 40).tokens  # golden mean: 0 is 1 is 3, 1 is 0 is 4
    assert set(tokens.unique().tolist()) == {3, 4}
    assert not ((tokens[:, 1:] == 4) & (tokens[:, :-1] == 4)).any()


def test_drawn_families_draw_the_component(kit):
    part = kit.component(
        "mixture",
        components=(kit.component("coins", alpha=2.0, beta=1.0), kit.component("even")),
        weights=(3.0, 1.0),
        vocabularies=((0, 1), (1, 2)),
    )
    source = part.build()
    topics = kit.topics_of(source, range(1, 2001))
    share = (topics.component == 0).double().mean()
    assert float(share) == pytest.approx(0.75, abs=0.05)
    words = list(itertools.product(range(3), repeat=3))
    found = source.population().log_prob(kit.batch_of(words)).nan_to_num(nan=-torch.inf).sum(1).exp()
    assert float(found.sum()) == pytest.approx(1, abs=1e-12)
    rows = torch.arange(8)
    mixture = mixture_over(source, topics[:8], torch.ones(8, dtype=torch.float64), chunk=3)
    apart = [
        source.oracle().log_prob(kit.batch_of(words, topics, [k] * len(words))).nan_to_num(nan=-torch.inf)
        for k in rows.tolist()
    ]
    mean = torch.stack([each.sum(1).exp() for each in apart]).mean(0)
    total = mixture.log_prob(kit.batch_of(words)).nan_to_num(nan=-torch.inf).sum(1).exp()
    np.testing.assert_allclose(total, mean, atol=1e-13)
    oracle = source.optimum("oracle", None, None, 4)
    even = kit.make("even").optimum("oracle", None, None, 4).values
    expected = 0.75 * kit.make("coins", alpha=2.0, beta=1.0).optimum("oracle", None, None, 4).values + 0.25 * even
    np.testing.assert_allclose(oracle.values, expected, atol=1e-13)


def test_posterior_of_names(kit):
    source, topics, weights = kit.listed("mr-name", names=3, weights=(0.5, 0.3, 0.2))
    batch = kit.batch_of([[1, 2, 0, 4], [1, 2, 1, 1]])
    posterior = source.mixture(topics, weights).posterior(batch)
    np.testing.assert_allclose(posterior, [[0, 1, 0], [0.5, 0.3, 0.2]], atol=1e-14)
    log_prob = source.mixture(topics, weights).log_prob(batch)
    assert float(log_prob[0, 3]) == pytest.approx(math.log(0.3), abs=1e-13)


def test_thousands_of_components(kit):
    parts = tuple(kit.component("golden-mean", p=(k + 1) / 3001) for k in range(3000))
    source, topics, weights = kit.listed("mixture", components=parts)
    batch = kit.draw(source, topics, [0, 1500, 2999], 64)
    found = source.mixture(topics, weights).log_prob(batch)
    merged = mixture_over(source, topics, weights, chunk=700).log_prob(batch)
    np.testing.assert_allclose(found, merged, atol=1e-10)


class Foreign:
    """A source of somebody else's: the alternating tokens 0 1 0 1, unscored at position 1; oracle only."""

    def topics(self, numbers, key):
        from iclkit_sources.coins.source import CoinTopics

        return CoinTopics(bias=torch.zeros(len(numbers), dtype=torch.float64), numbers=numbers)

    def sample(self, topics, topic, number, length, key):
        mask = torch.ones(len(topic), length, dtype=torch.bool)
        mask[:, 0] = False
        return (torch.arange(length) % 2).repeat(len(topic), 1), mask

    def oracle(self):
        return self

    def log_prob(self, batch: Batch):
        return torch.where(batch.tokens == torch.arange(batch.length) % 2, 0.0, -torch.inf).double()

    def distribution(self, batch: Batch):
        return None


def test_foreign_sources_mix(kit):
    part = kit.component(
        "mixture",
        components=(kit.component("even"), kit.component("coins", biases=(0.5,))),
        vocabularies=((0, 1), (1, 2)),
    )
    source = ComponentMixture(part.config, [Foreign(), part.config.components[1].build()])
    numbers = torch.tensor([1, 2])
    topics = source.topics(numbers, Key.root(0).fold(numbers))
    batch = kit.draw(source, topics, [0, 1, 0], 6)
    assert batch.mask[:, 0].tolist() == [False, True, False]
    assert batch.tokens[0].tolist() == [0, 1, 0, 1, 0, 1]
    np.testing.assert_allclose(source.oracle().log_prob(batch)[1], [-math.log(2)] * 6)
    assert source.oracle().distribution(batch) is None
    assert source.population() is None
    mixture = source.mixture(topics, torch.ones(2, dtype=torch.float64))
    np.testing.assert_allclose(mixture.log_prob(batch)[0], [-math.log(2), 0, 0, 0, 0, 0], atol=1e-14)
    assert mixture.distribution(batch) is None
