"""GINC: its topics, sampler and exact filters against sums over all paths and the dense chain of all states."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from iclkit.api import Drawn, Key, Listed
from iclkit.predictors import mixture_over
from iclkit_sources.ginc import recursion as ginc_recursion
from iclkit_sources.ginc.sampling import Alias, sample_states
from iclkit_sources.machines.filters import MachineMixture, MachineOracle
from iclkit_sources.machines.stack import Machines

MINI = {"entities": 2, "properties": 3, "symbols": 3, "permutations": 2}
VARIANTS = {
    "default": {},
    "own entities": {"topic_entities": True},
    "fast entities": {"identity": 0.0},
    "random transitions": {"random_transitions": True},
    "peaky": {"transition_temperature": 0.01},
    "published": {"published": True},
    "uneven": {"entities": 7, "properties": 4, "symbols": 12},
}


def dense(topics):
    """Return the topics with all states' transitions written out, emitting from the state, then moving."""
    shown = torch.nn.functional.one_hot(topics.memory.flatten(), topics.symbols).double().T  # (V, S)
    stacks = []
    for k in range(len(topics)):
        entity = topics.entity_moves if topics.entity_moves.ndim == 2 else topics.entity_moves[k]
        stacks.append(shown[:, :, None] * torch.kron(entity, topics.property_moves[k])[None])
    return Machines(transitions=torch.stack(stacks), start=topics.start, numbers=topics.numbers)


def word_probability(topics, k, word):
    """Return Pr(word | topic k) as a sum over all paths of entities and properties."""
    entity = (topics.entity_moves if topics.entity_moves.ndim == 2 else topics.entity_moves[k]).tolist()
    moves, start, memory = topics.property_moves[k].tolist(), topics.start[k].tolist(), topics.memory.tolist()
    size, total = topics.properties, 0.0 if word else 1.0
    states = [(e, p) for e in range(topics.entities) for p in range(size)]
    for path in itertools.product(states, repeat=len(word)) if word else ():
        if any(memory[e][p] != token for (e, p), token in zip(path, word, strict=True)):
            continue
        chance = start[path[0][0] * size + path[0][1]]
        for (e, p), (f, q) in itertools.pairwise(path):
            chance *= entity[e][f] * moves[p][q]
        total += chance
    return total


def brute_force(topics, weights, word):
    """Return ln Pr(v | word[:l]) for all l and v, (T, V); NaN where the history is impossible."""
    rows = []
    for position in range(len(word)):
        joint = np.array(
            [
                sum(weights[k] * word_probability(topics, k, (*word[:position], v)) for k in range(len(topics)))
                for v in range(topics.symbols)
            ]
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            rows.append(np.log(joint / joint.sum()))
    return np.array(rows)


def seen(expected, words):
    return np.take_along_axis(expected, np.array(words)[..., None], -1)[..., 0]


def mini(kit, count=3, **fields):
    source = kit.make("ginc", **{**MINI, **fields})
    return source, kit.topics_of(source, range(1, count + 1))


def test_facts(kit):
    drawn = kit.component("ginc").facts
    assert drawn.space.size == 50
    assert isinstance(drawn.topics, Drawn)
    assert drawn.references == ("oracle", "mixture")
    published = kit.component("ginc", published=True, symbols=150).facts
    assert published.space.size == 150
    assert isinstance(published.topics, Listed)
    assert published.topics.weights == pytest.approx((0.1,) * 10)
    assert "population" in published.references
    assert "population" in kit.component("ginc", random_data=True).facts.references
    assert kit.make("ginc").population() is None


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"random_data": True, "random_transitions": True}, "random_transitions"),
        ({"published": True, "world_seed": 3}, "world_seed"),
        ({"published": True, "random_transitions": True}, "random_transitions"),
    ],
)
def test_problems_name_the_field(kit, fields, key):
    assert set(kit.problems("ginc", **fields)) == {key}
    assert not kit.problems("ginc", published=True, random_data=True)


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_topics_are_made_by_address(kit, fields):
    source = kit.make("ginc", **fields)
    topics = kit.topics_of(source, range(1, 9))
    assert len(topics) == 8
    for rows in (topics.start, topics.property_moves, topics.entity_moves):
        assert rows.min() >= 0
        np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-12)
    assert (topics.memory[:, 0] == 0).all()
    assert topics.memory[:, 1:].min() >= 1
    assert topics.memory.max() < topics.symbols
    few = kit.topics_of(source, [5, 2])
    for name in ("start", "property_moves", "prompt_property_moves"):
        assert torch.equal(getattr(few, name), getattr(topics, name)[[4, 1]])
    assert torch.equal(
        few.entity_moves, topics.entity_moves if topics.entity_moves.ndim == 2 else topics.entity_moves[[4, 1]]
    )
    assert not torch.equal(topics.property_moves[0], topics.property_moves[1])


def test_topics_are_mixtures_of_permutations(kit):
    topics = kit.topics_of(kit.make("ginc"), range(1, 401))
    np.testing.assert_allclose(topics.property_moves.sum(1), 1, atol=1e-12)  # columns too: doubly stochastic
    share = float((topics.property_moves == 0).double().mean())
    assert share == pytest.approx(0.9**10, abs=0.01)  # no permutation of ten goes there
    assert topics.start.min() > 0.0094
    assert topics.start.max() < 0.0106
    assert topics.entity_moves.ndim == 2
    assert topics.entity_moves.diagonal().min() >= 0.9
    assert (kit.topics_of(kit.make("ginc", identity=0.0), [1]).entity_moves - topics.entity_moves).abs().max() > 0.5
    weights = topics.property_moves.flatten(1).sort(descending=True).values
    flat = kit.topics_of(kit.make("ginc", transition_temperature=1e6), [1]).property_moves * 10
    np.testing.assert_allclose(flat, flat.round(), atol=1e-4)
    assert weights.shape == (400, 100)
    other = kit.topics_of(kit.make("ginc", world_seed=1), range(1, 401))
    assert torch.equal(other.property_moves, topics.property_moves)
    assert not torch.equal(other.memory, topics.memory)
    assert not torch.equal(other.entity_moves, topics.entity_moves)


def test_alias_tables_hold_the_rows():
    rows = torch.tensor(np.random.default_rng(0).dirichlet(np.full(7, 0.3), size=50))
    rows[rows < 0.02] = 0.0
    rows[:3] = torch.eye(7)[:3].double()
    rows = rows / rows.sum(1, keepdim=True)
    table = Alias(rows)
    keep, other = table._keep.view(50, 7), table._other.view(50, 7).long()
    held = (keep / 7).scatter_add(1, other, (1 - keep) / 7)
    np.testing.assert_allclose(held, rows, atol=1e-15)
    assert (held[rows == 0] == 0).all()


@pytest.mark.parametrize("fields", [{}, {"topic_entities": True}, {"random_transitions": True}, {"symbols": 5}])
def test_block_frequencies_follow_the_likelihood(kit, fields):
    source, topics = mini(kit, **fields)
    count = 40_000
    tokens = kit.draw(source, topics, [1] * count, 4, seed=5).tokens
    words = list(itertools.product(range(topics.symbols), repeat=4))
    expected = np.array([word_probability(topics, 1, word) for word in words]) * count
    place = (tokens * topics.symbols ** torch.arange(3, -1, -1)).sum(1)
    found = torch.bincount(place, minlength=len(words)).numpy()
    assert expected.sum() == pytest.approx(count)
    assert found[expected == 0].sum() == 0
    common = expected >= 5
    observed, law = (np.append(each[common], each[~common].sum()) for each in (found, expected))
    kept = law > 0
    assert stats.chisquare(observed[kept], law[kept]).pvalue > 1e-3


def test_states_follow_both_factors(kit):
    source = kit.make("ginc")
    topics = kit.topics_of(source, [1, 2])
    key = Key.root(4).fold(torch.arange(4000))
    states = sample_states(topics, torch.full((4000,), 1), None, 70, key)
    before, after = states[:-1].long().flatten(), states[1:].long().flatten()
    for law, one, two in (
        (topics.entity_moves, before // 10, after // 10),
        (topics.property_moves[1], before % 10, after % 10),
    ):
        found = torch.bincount(one * 10 + two, minlength=100).view(10, 10).numpy()
        expected = law.numpy() * found.sum(1, keepdims=True)
        assert found[expected == 0].sum() == 0
        positive = expected > 5
        statistic = ((found - expected)[positive] ** 2 / expected[positive]).sum()
        assert stats.chi2(positive.sum() - 10).sf(statistic) > 1e-3
    first = torch.bincount(states[0].long(), minlength=100).numpy()
    assert stats.chisquare(first, topics.start[1].numpy() * 4000).pvalue > 1e-3


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_sampling_depends_on_the_address_alone(kit, fields):
    source = kit.make("ginc", **fields)
    topics = kit.topics_of(source, range(1, 5))
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    whole = kit.draw(source, topics, [0, 1, 2, 3, 3], 150, number=[1, 2, 3, 4, 5]).tokens
    for length in (1, 33, 64, 100):
        assert torch.equal(kit.draw(source, topics, [0, 1, 2, 3, 3], length).tokens, whole[:, :length])
    apart = kit.draw(source, kit.topics_of(source, [4, 2]), [0, 1, 0], 150, number=[5, 2, 4]).tokens
    assert torch.equal(apart, whole[[4, 1, 3]])
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


@pytest.mark.parametrize("rows", [2, 8192])
def test_blocks_of_sequences_change_nothing(kit, monkeypatch, rows):
    source, topics = mini(kit)
    whole = kit.draw(source, topics, [0, 1, 2, 0, 1], 80).tokens
    monkeypatch.setattr("iclkit_sources.ginc.sampling._ROWS", rows)
    assert torch.equal(kit.draw(source, topics, [0, 1, 2, 0, 1], 80).tokens, whole)


@pytest.mark.parametrize("fields", [{}, {"topic_entities": True}, {"symbols": 5, "permutations": 1}])
@pytest.mark.parametrize("cells", [1, 1 << 20])
def test_references_are_sums_over_all_paths(kit, monkeypatch, fields, cells):
    monkeypatch.setattr(ginc_recursion, "_CELLS", cells)
    monkeypatch.setattr(ginc_recursion, "_PIECE", cells)
    source, topics = mini(kit, **fields)
    weights = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    words = list(itertools.product(range(topics.symbols), repeat=3))
    batch = kit.batch_of(words, topics)
    expected = np.array([brute_force(topics, weights.tolist(), word) for word in words])
    mixture = source.mixture(topics, weights)
    np.testing.assert_allclose(mixture.distribution(batch).log_probs, expected, atol=1e-12)
    np.testing.assert_allclose(mixture.log_prob(batch), seen(expected, words), atol=1e-12)
    for chunk in (1, 2):
        merged = mixture_over(source, topics, weights, chunk)
        found = merged.log_prob(batch)
        np.testing.assert_allclose(found, seen(expected, words), atol=1e-12)
        np.testing.assert_allclose(merged.distribution(batch).log_probs, expected, atol=1e-12)
    topic = torch.arange(len(words)) % 3
    own = kit.batch_of(words, topics, topic)
    alone = np.array([brute_force(topics[[k]], [1.0], word) for k, word in zip(topic.tolist(), words, strict=True)])
    np.testing.assert_allclose(source.oracle().distribution(own).log_probs, alone, atol=1e-12)
    np.testing.assert_allclose(source.oracle().log_prob(own), seen(alone, words), atol=1e-12)
    assert np.isnan(alone).any() or topics.symbols == 3


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_references_agree_with_the_dense_chain(kit, fields):
    source = kit.make("ginc", **fields)
    topics = kit.topics_of(source, range(1, 6))
    batch = kit.draw(source, topics, [0, 1, 2, 3, 4, 4], 120)
    machines = dense(topics)
    with_machines = batch.replace(topics=machines)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    for ours, theirs in (
        (source.oracle(), MachineOracle()),
        (source.mixture(topics, weights), MachineMixture(machines, weights)),
    ):
        law, other = ours.distribution(batch).log_probs, theirs.distribution(with_machines).log_probs
        np.testing.assert_allclose(law.exp(), other.exp(), atol=1e-12)
        np.testing.assert_allclose(ours.log_prob(batch), theirs.log_prob(with_machines), atol=1e-12)
    posterior = source.mixture(topics, weights).posterior(batch)
    np.testing.assert_allclose(posterior, MachineMixture(machines, weights).posterior(with_machines), atol=1e-12)


def test_many_topics_agree_with_the_dense_chain(kit):
    source = kit.make("ginc", entities=4, properties=5, symbols=12)
    topics = kit.topics_of(source, range(1, 41))
    batch = kit.draw(source, topics, range(0, 40, 5), 60)
    weights = torch.linspace(1, 2, 40, dtype=torch.float64)
    expected = MachineMixture(dense(topics), weights).distribution(batch).log_probs.exp()
    np.testing.assert_allclose(
        source.mixture(topics, weights).distribution(batch).log_probs.exp(), expected, atol=1e-12
    )
    merged = mixture_over(source, topics, weights, 7).distribution(batch).log_probs.exp()
    np.testing.assert_allclose(merged, expected, atol=1e-12)


def test_impossible_tokens_are_reported(kit):
    source = kit.make("ginc")
    topics = kit.topics_of(source, [1, 2, 3])
    fresh = kit.topics_of(source, [77])
    batch = kit.draw(source, fresh, [0] * 8, 200)
    mixture = source.mixture(topics, torch.ones(3, dtype=torch.float64))
    log_prob, law = mixture.log_prob(batch), mixture.distribution(batch).log_probs
    for row in range(8):
        end = int((log_prob[row] == -torch.inf).nonzero()[0])
        assert torch.isfinite(log_prob[row, :end]).all()
        assert log_prob[row, end + 1 :].isnan().all()
        assert law[row, end + 1 :].isnan().all()
        assert float(law[row, end].exp().sum()) == pytest.approx(1, abs=1e-12)
        assert law[row, end, batch.tokens[row, end]] == -torch.inf
    merged = mixture_over(source, topics, torch.ones(3, dtype=torch.float64), 1).log_prob(batch)
    np.testing.assert_allclose(merged, log_prob, atol=1e-11)
    wrong = batch.replace(topics=topics)
    oracle = source.oracle().log_prob(wrong)
    assert (oracle == -torch.inf).sum() == 8


@pytest.mark.parametrize("temperature", [0.1, 0.002])
def test_nothing_underflows(kit, temperature):
    source = kit.make("ginc", transition_temperature=temperature)
    topics = kit.topics_of(source, [1, 2, 3])
    batch = kit.draw(source, topics, [0, 2], 6000)
    oracle = source.oracle().log_prob(batch)
    mixture = source.mixture(topics, torch.ones(3, dtype=torch.float64)).log_prob(batch)
    assert torch.isfinite(oracle).all()
    assert torch.isfinite(mixture).all()
    regret = (oracle - mixture).sum(1)
    assert (regret <= math.log(3) + 1e-9).all()  # a mixture never loses more than ln K
    assert (regret >= -1e-9).all()


def test_beliefs_are_bayes_rule(kit):
    source, topics = mini(kit)
    batch = kit.draw(source, topics, [0, 2], 5)
    beliefs = source.beliefs(batch)
    for row, k in enumerate((0, 2)):
        chain = torch.kron(topics.entity_moves, topics.property_moves[k])
        belief = topics.start[k]
        for step, token in enumerate(batch.tokens[row].tolist()):
            belief = (belief if step == 0 else belief @ chain) * (topics.memory.flatten() == token)
            belief = belief / belief.sum()
            np.testing.assert_allclose(beliefs[row, step], belief, atol=1e-13)


def test_random_data_is_uniform(kit):
    source = kit.make("ginc", random_data=True, symbols=6)
    topics = kit.topics_of(source, [1, 2])
    batch = kit.draw(source, topics, [0, 1] * 2000, 5)
    pairs = batch.tokens[:, 3] * 6 + batch.tokens[:, 4]
    assert stats.chisquare(torch.bincount(pairs, minlength=36).numpy()).pvalue > 1e-3
    weights = torch.full((2,), 0.5, dtype=torch.float64)
    for predictor in (source.oracle(), source.mixture(topics, weights), source.population()):
        np.testing.assert_allclose(predictor.log_prob(batch), -math.log(6), atol=1e-15)
    floor = source.optimum("population", None, None, 4)
    np.testing.assert_allclose(floor.values, math.log(6), atol=1e-15)
    assert floor.method == "closed-form"
    assert source.entropy_rate(None, None).values[0] == pytest.approx(math.log(6))
    plain = kit.make("ginc", symbols=6)
    prompts = [each.prompts(topics, 2, 3, 20, Key.root(1)) for each in (source, plain)]
    assert torch.equal(prompts[0].tokens, prompts[1].tokens)


def test_random_transitions_leave_prompts_alone(kit):
    plain, random = (kit.make("ginc", random_transitions=flag) for flag in (False, True))
    one, two = (kit.topics_of(source, [1, 2]) for source in (plain, random))
    assert two.property_moves.min() > 0
    assert two.entity_moves.shape == (2, 10, 10)
    prompts = [source.prompts(topics, 3, 5, 30, Key.root(1)) for source, topics in ((plain, one), (random, two))]
    assert torch.equal(prompts[0].tokens, prompts[1].tokens)
    assert torch.equal(prompts[0].label, prompts[1].label)


@pytest.mark.parametrize("reference", ["oracle", "mixture"])
def test_floors_are_sums_over_all_words(kit, reference):
    source, topics = mini(kit)
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    floor = source.optimum(reference, topics, weights, 5)
    parts = [(topics[[k]], [1.0], float(weights[k])) for k in range(3)]
    for position in range(1, 4):
        total = 0.0
        for family, prior, share in parts if reference == "oracle" else [(topics, weights.tolist(), 1.0)]:
            blocks = [0.0, 0.0]
            for size in (position - 1, position):
                for word in itertools.product(range(3), repeat=size):
                    chance = sum(prior[k] * word_probability(family, k, word) for k in range(len(family)))
                    blocks[size - position + 1] -= chance * math.log(chance) if chance > 0 else 0.0
            total += share * (blocks[1] - blocks[0])
        assert floor.values[position - 1] == pytest.approx(total, abs=1e-11)
    assert floor.method == "belief-enumeration"
    assert np.isfinite(floor.values).all()


def test_floors_stop_at_the_budget(kit):
    source, topics, weights = kit.listed("ginc", published=True)
    floor = source.optimum("mixture", topics, weights, 6)
    assert np.isfinite(floor.values[:3]).all()
    assert np.isnan(floor.values[4:]).all()
    np.testing.assert_array_equal(source.optimum("population", None, None, 6).values, floor.values)
    assert kit.make("ginc").optimum("population", None, None, 6) is None
    assert kit.make("ginc").optimum("oracle", None, None, 6) is None
