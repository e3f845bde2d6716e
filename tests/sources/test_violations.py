"""Violated topic structure against the definitions, word by word."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from iclkit import data, engine
from iclkit.api import ConfigError
from iclkit.cube import final, open_cube
from iclkit.keys import Key
from iclkit.predictors import mixture_over
from iclkit_sources.coins.source import CoinSource
from iclkit_sources.machines.compilable import is_machine
from iclkit_sources.machines.listed import MachineSource
from iclkit_sources.violations.unmarked import Unmarked
from iclkit_sources.violations.wrapped import Violated

LENGTH = 4


def names(kit):
    return kit.component("mr-name", names=2, weights=(3.0, 1.0))


def word_law(machines, size, length=LENGTH):
    """Return Pr(word) of every machine for all words, {word: (K,)}."""
    found = {}
    for word in itertools.product(range(size), repeat=length):
        belief = machines.start[:, None]
        for token in word:
            belief = belief @ machines.transitions[:, token]
        found[word] = belief.sum((1, 2)).numpy()
    return found


def assert_law(kit, fields, expected, rtol=1e-9):
    """Oracle, mixture and population have the law {word: (K,)}, and words are sampled with it."""
    source, topics, weights = kit.listed("violations", **fields)
    words = list(expected)
    law = np.array([expected[word] for word in words])  # (words, K)
    np.testing.assert_allclose(law.sum(0), 1, atol=1e-12)

    def total(predictor, topic=None):
        found = predictor.log_prob(kit.batch_of(words, topics, topic)).nan_to_num(nan=-torch.inf).sum(1).exp()
        chance = predictor.distribution(kit.batch_of(words, topics, topic))
        again = chance.log_prob(torch.tensor(words)).nan_to_num(nan=-torch.inf).sum(1).exp()
        np.testing.assert_allclose(found, again, rtol=rtol, atol=1e-15)
        return found.numpy()

    for k in range(len(topics)):
        np.testing.assert_allclose(total(source.oracle(), [k] * len(words)), law[:, k], rtol=rtol, atol=1e-14)
    for chunk in (1, 64):
        mixture = mixture_over(source, topics, weights, chunk)
        np.testing.assert_allclose(total(mixture), law @ weights.numpy(), rtol=rtol, atol=1e-14)
    population = source.population()
    if population is not None:
        np.testing.assert_allclose(total(population), law @ weights.numpy(), rtol=rtol, atol=1e-14)

    size = 1 + max(max(word) for word in words)
    per_topic = 8000
    topic = torch.arange(len(topics)).repeat_interleave(per_topic)
    number = torch.arange(1, per_topic + 1).repeat(len(topics))
    batch = kit.draw(source, topics, topic, len(words[0]), seed=7, number=number)
    place = size ** torch.arange(len(words[0]) - 1, -1, -1)
    for k in range(len(topics)):
        seen = torch.bincount((batch.tokens[topic == k] * place).sum(1), minlength=len(words)).double().numpy()
        wanted = per_topic * law[:, k]
        assert not seen[wanted == 0].any()
        often = wanted > 5
        seen, wanted = ([*each[often], each[~often].sum()] for each in (seen, wanted))
        keep = np.array(wanted) > 1
        statistic = ((np.array(seen) - wanted) ** 2)[keep] / np.array(wanted)[keep]
        assert stats.chi2(keep.sum() - 1).sf(statistic.sum()) > 1e-4
    return source, topics, weights


def test_token_noise_replaces_tokens(kit):
    plain = word_law(names(kit).build().family, 5)
    expected = dict.fromkeys(plain, 0.0)
    for word in expected:
        for original, chance in plain.items():
            flips = math.prod(0.8 * (a == b) + 0.2 / 5 for a, b in zip(word, original, strict=True))
            expected[word] = expected[word] + flips * chance
    assert_law(kit, {"source": names(kit), "token_noise": 0.2}, expected)


def test_uniform_mixing_of_a_markov_chain(kit):
    """Where a token names the state that is entered, the chain of tokens is mixed with the uniform one."""
    family = names(kit).build().family
    expected = {}
    for word in itertools.product(range(5), repeat=LENGTH):
        chances = []
        for k in range(2):
            chain = family.transitions[k].sum(0)
            states = [{0: 0, 1: 1, 2: 2, 3 + k: 3}.get(token) for token in word]
            belief, chance = family.start[k], 0.0
            if None not in states:
                mixed = 0.7 * chain + 0.3 / 4
                chance = float(belief @ mixed[:, states[0]])
                for before, after in itertools.pairwise(states):
                    chance *= float(mixed[before, after])
            chances.append(chance)
        expected[word] = np.array(chances)
    assert_law(kit, {"source": names(kit), "uniform_mixing": 0.3}, expected)


def test_uniform_mixing_where_the_state_left_is_shown(kit):
    shown, moves = np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([[0.8, 0.2], [0.4, 0.6]])
    matrices = tuple(tuple(map(tuple, (shown[:, v, None] * moves).tolist())) for v in range(2))
    inner = kit.component("hmm", matrices=matrices, start=(0.5, 0.5))
    mixed = 0.6 * moves + 0.4 / 2
    expected = {}
    for word in itertools.product(range(2), repeat=LENGTH):
        belief = np.array([0.5, 0.5])
        for token in word:
            belief = (belief * shown[:, token]) @ mixed
        expected[word] = belief.sum(keepdims=True)
    assert_law(kit, {"source": inner, "uniform_mixing": 0.4}, expected)


def test_overlap_moves_topics_to_their_mean(kit):
    family = names(kit).build().family
    changed = type(family)(
        transitions=0.6 * family.transitions + 0.4 * family.transitions.mean(0),
        start=0.6 * family.start + 0.4 * family.start.mean(0),
        numbers=family.numbers,
    )
    assert_law(kit, {"source": names(kit), "overlap": 0.4}, word_law(changed, 5))
    source, topics, _ = kit.listed("violations", source=names(kit), overlap=1.0)
    assert torch.equal(topics.transitions[0], topics.transitions[1])
    assert source.optimum("mixture", None, None, 3).values == pytest.approx(
        source.optimum("oracle", None, None, 3).values
    )


def test_structureless_sequences_of_machines(kit):
    plain = word_law(names(kit).build().family, 5)
    expected = {word: 0.75 * chance + 0.25 * 5.0**-LENGTH for word, chance in plain.items()}
    source, _, _ = assert_law(kit, {"source": names(kit), "structureless": 0.25}, expected)
    assert isinstance(source, MachineSource)
    rate = names(kit).build().entropy_rate(None, None).values[0]
    assert source.entropy_rate(None, None).values[0] == pytest.approx(0.75 * rate + 0.25 * math.log(5), abs=1e-9)


def test_structureless_sequences_of_any_source(kit):
    inner = kit.component("induction", tokens=2, shortest=2, longest=3)
    source, topics, _ = kit.listed("induction", tokens=2, shortest=2, longest=3)
    words = list(itertools.product(range(2), repeat=6))
    plain = source.oracle().log_prob(kit.batch_of(words, topics)).nan_to_num(nan=-torch.inf).sum(1).exp().numpy()
    expected = {word: np.array([0.75 * chance + 0.25 / 64]) for word, chance in zip(words, plain, strict=True)}
    source, _, _ = assert_law(kit, {"source": inner, "structureless": 0.25}, expected)
    assert isinstance(source, Violated)
    assert source.entropy_rate(None, None).values[0] == pytest.approx(0.25 * math.log(2))
    drawn = kit.make("violations", source=kit.component("coins", alpha=2.0, beta=1.0), structureless=0.5)
    found = drawn.population().log_prob(kit.batch_of([[1, 1, 0]])).sum()
    assert float(found.exp()) == pytest.approx(0.5 / 8 + 0.5 * (2 / 3) * (3 / 4) * (1 / 5))


def test_structureless_documents_leave_prompts_alone(kit):
    inner = kit.component("ginc", entities=3, properties=4, symbols=6)
    plain, loose = inner.build(), kit.make("violations", source=inner, structureless=0.5)
    assert isinstance(loose, Violated)
    numbers = torch.arange(1, 4)
    prompts = [
        source.prompts(source.topics(numbers, Key.root(0).fold(numbers)), 2, 3, 20, Key.root(1))
        for source in (plain, loose)
    ]
    assert torch.equal(prompts[0].tokens, prompts[1].tokens)
    assert torch.equal(prompts[0].label, prompts[1].label)
    assert not hasattr(kit.make("violations", source=kit.component("coins"), structureless=0.5), "prompts")


def test_unmarked_boundaries(kit):
    """Every way to cut the word: the first piece by the sequence's topic, the others by the weighted family."""
    component = names(kit)
    family, weights = component.build().compiled()
    pieces = {length: word_law(family, 5, length) for length in range(1, LENGTH + 1)}
    expected = {}
    for word in itertools.product(range(5), repeat=LENGTH):
        total = 0.0
        for cuts in itertools.product((False, True), repeat=LENGTH - 1):
            ends = [place for place, cut in enumerate(cuts, start=1) if cut]
            parts = [word[a:b] for a, b in itertools.pairwise([0, *ends, LENGTH])]
            chance = 0.2 ** sum(cuts) * 0.8 ** (LENGTH - 1 - sum(cuts)) * pieces[len(parts[0])][parts[0]]
            for part in parts[1:]:
                chance = chance * float(pieces[len(part)][part] @ weights.numpy())
            total = total + chance
        expected[word] = total
    source, topics, weights = assert_law(kit, {"source": component, "boundaries": 0.2}, expected)
    assert isinstance(source, Unmarked)
    entropy = {}
    for seen in (LENGTH - 1, LENGTH):
        law = dict.fromkeys(itertools.product(range(5), repeat=seen), 0.0)
        for word, chance in expected.items():
            law[word[:seen]] = law[word[:seen]] + chance
        joint = np.array(list(law.values()))
        entropy[seen] = (stats.entropy(joint) @ weights.numpy(), stats.entropy(joint @ weights.numpy()))
    for index, reference in enumerate(("oracle", "mixture")):
        found = source.optimum(reference, topics, weights, LENGTH)
        assert found.values[-1] == pytest.approx(entropy[LENGTH][index] - entropy[LENGTH - 1][index], abs=1e-12)
    small, topics, weights = kit.listed("violations", source=kit.component("coins", biases=(0.1, 0.8)), boundaries=0.3)
    rate, floor = (
        ask(topics, weights) for ask in (small.entropy_rate, lambda *law: small.optimum("mixture", *law, 12))
    )
    assert rate.values[0] - rate.error[0] <= floor.values[-1] <= rate.values[0] + 0.01
    assert rate.error[0] < 0.01


def test_violations_combine(kit):
    fields = {"token_noise": 0.1, "structureless": 0.2, "overlap": 0.3, "uniform_mixing": 0.05, "skew": 1.0}
    source, topics, weights = kit.listed("violations", source=names(kit), **fields)
    assert weights.tolist() == pytest.approx([6 / 7, 1 / 7])
    nested = names(kit)
    for name in ("overlap", "uniform_mixing", "token_noise", "structureless", "skew"):
        nested = kit.component("violations", source=nested, **{name: fields[name]})
    other = nested.build()
    batch = kit.draw(source, topics, [0, 1] * 10, 20)
    for one, two in (
        (source.oracle(), other.oracle()),
        (source.population(), other.population()),
    ):
        again = batch.replace(topics=kit.topics_of(other, [1, 2]))
        np.testing.assert_allclose(one.log_prob(batch), two.log_prob(again), atol=1e-12)
    both = kit.make("violations", source=names(kit), boundaries=0.1, structureless=0.3)
    assert isinstance(both, Violated)
    total = both.population().log_prob(kit.batch_of(list(itertools.product(range(5), repeat=3))))
    assert float(total.nan_to_num(nan=-torch.inf).sum(1).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_drawn_machines_are_changed_one_by_one(kit):
    inner = kit.component("random-hmm", states=2, vocabulary=3)
    part = kit.component("violations", source=inner, token_noise=0.5)
    assert part.facts.references == ("oracle", "mixture")
    source = part.build()
    topics, plain = kit.topics_of(source, [1, 2, 3]), kit.topics_of(inner.build(), [1, 2, 3])
    np.testing.assert_allclose(
        topics.transitions, 0.5 * plain.transitions + 0.5 * plain.transitions.mean(1, keepdim=True)
    )
    coins = kit.component("violations", source=kit.component("coins"), token_noise=0.5)
    shown = kit.topics_of(coins.build(), range(1, 200)).transitions[:, 1, 0, 0]
    assert 0.25 <= shown.min() < 0.3 < 0.7 < shown.max() <= 0.75
    assert coins.build().population() is None
    ones = torch.ones(3, dtype=torch.float64)
    assert np.isfinite(source.optimum("mixture", topics, ones, 5).values).all()
    batch = kit.draw(source, topics, [0, 1, 2], 9)
    assert torch.isfinite(mixture_over(source, topics, ones, 2).log_prob(batch)).all()


def test_drawn_chains_are_mixed_with_uniform_rows(kit):
    """(1 - a) T_k + a uniform, T_k being a Dirichlet chain; dice are machines of one state."""
    inner = kit.component("markov", vocabulary=3)
    source = kit.make("violations", source=inner, uniform_mixing=0.4)
    topics, chains = kit.topics_of(source, [1, 2]), kit.topics_of(inner.build(), [1, 2])
    rows = 0.6 * chains.log_rows.exp() + 0.4 / 3
    words = list(itertools.product(range(3), repeat=4))
    for k in range(2):
        expected = [1 / 3 * math.prod(float(rows[k, a, b]) for a, b in itertools.pairwise(word)) for word in words]
        found = source.oracle().log_prob(kit.batch_of(words, topics, [k] * len(words))).sum(1).exp()
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    dice = kit.make("violations", source=kit.component("dice", sides=4), token_noise=1.0)
    np.testing.assert_allclose(kit.topics_of(dice, [1, 2]).emissions, 0.25)


def test_nothing_violated_is_the_source_itself(kit):
    assert isinstance(kit.make("violations", source=kit.component("coins", biases=(0.1, 0.7))), CoinSource)


def test_a_violated_machine_may_be_mixed_and_switched(kit):
    noisy = kit.component("violations", source=names(kit), token_noise=0.1, structureless=0.1)
    assert is_machine(noisy)
    assert isinstance(kit.make("mixture", components=(noisy, kit.component("even"))), MachineSource)
    switching = kit.make("switching", source=noisy, rate=0.1)
    assert torch.isfinite(switching.population().log_prob(kit.batch_of([[4, 4, 4]]))).all()
    assert not is_machine(kit.component("violations", source=names(kit), boundaries=0.1))


def test_duplicates_repeat_earlier_addresses_of_their_topic(kit):
    part = kit.component("violations", source=kit.component("coins", biases=(0.4, 0.6)), duplicates=0.3)
    source = part.build()
    topics = kit.topics_of(source, [1, 2])
    number = torch.arange(1, 3001).repeat(2)
    topic = torch.arange(2).repeat_interleave(3000)
    held = source.alias(topics, topic, number)
    assert (held <= number).all() and (held >= 1).all()
    assert float((held < number).double().mean()) == pytest.approx(0.3, abs=0.03)
    assert not torch.equal(held[:3000], held[3000:])
    assert torch.equal(source.alias(topics, held * 0 + topic, held), held)  # an original is its own
    assert torch.equal(source.alias(topics[1:], topic[:5] * 0, number[:5]), held[3000:3005])
    late = source.alias(topics, topic[:1000] * 0, (1 << 40) - torch.arange(1000))
    assert (late > 1 << 20).all()  # evaluation repeats nothing that was trained on
    mixture = kit.make("mixture", components=(kit.component("even"), part))
    inside = kit.topics_of(mixture, [1, 2, 3])
    assert torch.equal(mixture.alias(inside, topic[:3000] + 1, number[:3000]), held[:3000])
    assert torch.equal(mixture.alias(inside, topic[:3000], number[:3000]), number[:3000])


def test_the_engine_serves_duplicates(kit, tiny, planned):
    inner = {"kind": "coins", "biases": [0.4, 0.6]}
    tiny |= {"source": {"kind": "violations", "source": inner, "duplicates": 0.4}}
    tiny["data"] = {"length": 40, "topics": 2, "sequences": 50}
    config = planned(tiny).trainings[0].config
    source = config.source.build()
    training = data.TrainingSequences(config, source)
    sequences = next(training.all(100))
    held = source.alias(sequences.topics, sequences.topic, sequences.number)
    different = {(topic, row) for topic, row in zip(sequences.topic.tolist(), held.tolist(), strict=True)}
    assert len(sequences.tokens.unique(dim=0)) == len(different) < 80
    first = (sequences.topic == 0).nonzero().squeeze(1)
    assert torch.equal(sequences.tokens[first], sequences.tokens[first][held[first] - 1])
    plain = data.TrainingSequences(
        planned(tiny | {"source": inner}).trainings[0].config, kit.make("coins", biases=(0.4, 0.6))
    )
    originals = held == sequences.number
    assert torch.equal(next(plain.all(100)).tokens[originals], sequences.tokens[originals])


def shift(kit):
    return kit.component(
        "violations", source=kit.component("coins"), shifted=kit.component("coins", alpha=20.0, beta=20.0)
    )


def test_a_shift_changes_the_topics_of_the_evaluation(kit):
    part = shift(kit)
    assert part.facts.references == ("oracle", "mixture", "population")
    source, late = part.build(), (1 << 40) - torch.arange(500)
    trained, tested = kit.topics_of(source, range(1, 501)), kit.topics_of(source, late)
    spreads = [topics.parts[index].bias.std() for index, topics in enumerate((trained, tested))]
    assert float(spreads[0]) == pytest.approx(12**-0.5, rel=0.1)
    assert float(spreads[1]) == pytest.approx((4 * 41) ** -0.5, rel=0.1)
    both = kit.topics_of(source, torch.cat([late[:1], torch.tensor([1])]))
    found = source.population().log_prob(kit.batch_of([[1, 1], [1, 1]], both, [0, 1])).exp()
    np.testing.assert_allclose(found, [[0.5, 21 / 41], [0.5, 2 / 3]])
    plain = kit.make("coins", alpha=20.0, beta=20.0)
    for reference in ("oracle", "population"):
        np.testing.assert_array_equal(
            source.optimum(reference, None, None, 5).values, plain.optimum(reference, None, None, 5).values
        )
    weights = torch.ones(3, dtype=torch.float64) / 3
    trained = trained[:3]
    pool = kit.make("coins").optimum("mixture", trained.parts[0][trained.place], weights, 5).values
    np.testing.assert_allclose(source.optimum("mixture", trained, weights, 5).values, pool)


def test_the_engine_measures_a_shift(tiny, planned, found):
    tiny["source"] = {"kind": "violations", "source": {"kind": "coins"}, "shifted": {"kind": "coins", "alpha": 50}}
    tiny["data"] = {"length": 8, "topics": 2}
    tiny["evaluation"] = {"sequences": 64}
    made = planned(tiny)
    engine.run(made, found).check()
    measured = final(open_cube(made.folder).load())
    floor = measured["floor"].mean("position").squeeze()
    assert float(floor.sel(reference="population", split="topics")) < 0.2  # heads nearly always
    assert np.isfinite(measured["excess"].sel(split="topics")).all()


@pytest.mark.parametrize(
    ("source", "fields", "key", "text"),
    [
        (("induction", {}), {"token_noise": 0.1}, "token_noise", "which induction is not; allowed: hmm"),
        (("markov", {"order": 2}), {"uniform_mixing": 0.1}, "uniform_mixing", "which markov is not"),
        (("random-hmm", {}), {"overlap": 0.1}, "overlap", "needs listed topics; random-hmm draws"),
        (("coins", {}), {"boundaries": 0.1}, "boundaries", "needs listed topics"),
        (("coins", {}), {"skew": 1.0}, "skew", "needs listed topics"),
        (("lds", {}), {"structureless": 0.1}, "source", "must be a source of categorical tokens; lds is not"),
        (("coins", {"biases": (0.1,)}), {"shifted": ("coins", {})}, "source", "coins lists them"),
        (("coins", {}), {"shifted": ("even", {})}, "shifted", "must draw its topics"),
        (("coins", {}), {"shifted": ("random-hmm", {"vocabulary": 3})}, "shifted", "must have the source's tokens"),
    ],
)
def test_problems_name_the_field(kit, source, fields, key, text):
    made = {
        name: kit.component(*value[:1], **value[1]) if type(value) is tuple else value for name, value in fields.items()
    }
    assert text in kit.problems("violations", source=kit.component(source[0], **source[1]), **made)[key]


@pytest.mark.parametrize(
    ("source", "fields", "text"),
    [
        (
            ("even", {}),
            {"uniform_mixing": 0.1},
            "depend only on the state that is left or only on the one that is entered",
        ),
        (("coins", {"biases": (0.3,)}), {"uniform_mixing": 0.1}, "machines of two states or more"),
    ],
)
def test_what_has_no_meaning_is_refused(kit, source, fields, text):
    with pytest.raises(ConfigError) as refused:
        kit.make("violations", source=kit.component(source[0], **source[1]), **fields)
    assert text in str(refused.value)


def test_overlap_of_unequal_machines_is_refused(kit):
    inner = kit.component("mixture", components=(kit.component("even"), kit.component("coins", biases=(0.5,))))
    with pytest.raises(ConfigError, match=r"source\.overlap: the topics of mixture differ"):
        kit.make("violations", source=inner, overlap=0.5)


def test_a_sequence_is_a_function_of_its_address(kit):
    for fields in (
        {"structureless": 0.5, "source": kit.component("induction")},
        {"boundaries": 0.2, "source": names(kit)},
    ):
        source, topics, _ = kit.listed("violations", **fields)
        before = torch.get_rng_state()
        full = kit.draw(source, topics, [0] * 9, 50)
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(kit.draw(source, topics, [0] * 9, 13).tokens, full.tokens[:, :13])
        assert torch.equal(kit.draw(source, topics, [0] * 2, 50, number=[7, 2]).tokens, full.tokens[[6, 1]])
