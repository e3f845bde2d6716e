"""Repeated blocks against sums over all blocks and lengths."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from iclkit.predictors import mixture_over

CASES = [(2, 2, 4, 9), (3, 1, 3, 6), (2, 3, 3, 8), (2, 1, 5, 10)]


def probability(word, size, shortest, longest):
    """Return Pr(word) as a sum over lengths of the block and all blocks."""
    total = 0.0
    for span in range(shortest, longest + 1):
        for block in itertools.product(range(size), repeat=span):
            if all(token == block[place % span] for place, token in enumerate(word)):
                total += size**-span
    return total / (longest - shortest + 1)


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request):
    size, shortest, longest, length = request.param
    law = {
        word: probability(word, size, shortest, longest)
        for seen in range(length + 1)
        for word in itertools.product(range(size), repeat=seen)
    }
    return {"tokens": size, "shortest": shortest, "longest": longest}, length, law


def test_predictions_sum_over_blocks(kit, case):
    fields, length, law = case
    source, topics, weights = kit.listed("induction", **fields)
    words = [word for word in law if len(word) == length]
    batch = kit.batch_of(words, topics)
    for predictor in (source.oracle(), mixture_over(source, topics, weights), source.population()):
        log_prob, chance = predictor.log_prob(batch), predictor.distribution(batch).log_probs.exp()
        for row, word in enumerate(words):
            for place in range(length):
                before = law[word[:place]]
                if before == 0:
                    assert log_prob[row, place].isnan()
                    assert chance[row, place].isnan().all()
                    continue
                expected = [law[(*word[:place], token)] / before for token in range(fields["tokens"])]
                np.testing.assert_allclose(chance[row, place], expected, atol=1e-13)
                assert math.exp(log_prob[row, place]) == pytest.approx(expected[word[place]], abs=1e-13)


def test_floor_is_the_difference_of_word_entropies(kit, case):
    fields, length, law = case
    found = kit.make("induction", **fields).optimum("mixture", None, None, length)
    entropy = np.zeros(length + 1)
    for word, chance in law.items():
        entropy[len(word)] -= chance * math.log(chance) if chance else 0.0
    assert (np.abs(found.values - np.diff(entropy)) <= found.error + 1e-13).all()


def test_default_floor_is_log_v_then_nothing(kit):
    source = kit.make("induction")
    floor = source.optimum("oracle", None, None, 64)
    assert floor.method == "belief-enumeration"
    assert floor.values[:8] == pytest.approx([math.log(16)] * 8, abs=1e-15)
    assert floor.values[8] < math.log(16) - 0.01
    assert (np.diff(floor.values) <= 1e-12).all()
    assert floor.values[24] == pytest.approx(0.015575, abs=1e-6)
    assert (floor.values[48:] == 0).all()
    assert floor.error.max() < 1e-11
    rate = source.entropy_rate(None, None)
    assert (rate.values.tolist(), rate.error.tolist()) == ([0.0], [0.0])


def test_one_length_is_known_from_the_start(kit):
    """ln V during the block and 0 after it (paper sheet, section 7: once the period is known)."""
    source, topics, _ = kit.listed("induction", tokens=5, shortest=6, longest=6)
    expected = [math.log(5)] * 6 + [0.0] * 14
    np.testing.assert_allclose(source.optimum("population", None, None, 20).values, expected, atol=1e-12)
    batch = kit.draw(source, topics, [0] * 30, 20)
    np.testing.assert_allclose(-source.oracle().log_prob(batch), [expected] * 30, atol=1e-12)


def test_a_budget_leaves_nan_and_what_is_known_beyond(kit, monkeypatch):
    monkeypatch.setattr("iclkit_sources.induction.periods.WORK", 20_000)
    floor = kit.make("induction").optimum("mixture", None, None, 50).values
    assert np.isfinite(floor[:8]).all()
    assert np.isnan(floor[20:48]).all()
    assert (floor[48:] == 0).all()


def test_the_floor_is_the_mean_loss_of_samples(kit):
    source, topics, _ = kit.listed("induction", tokens=3, shortest=2, longest=5)
    batch = kit.draw(source, topics, [0] * 20_000, 12)
    losses = -source.oracle().log_prob(batch).numpy()
    floor = source.optimum("oracle", None, None, 12).values
    standard_error = losses.std(0) / math.sqrt(len(losses))
    assert (np.abs(losses.mean(0) - floor) <= 5 * standard_error + 1e-9).all()


def test_long_blocks_do_not_underflow(kit):
    source, topics, _ = kit.listed("induction", tokens=64, shortest=300, longest=400)
    batch = kit.draw(source, topics, [0, 0], 1000)
    log_prob = source.oracle().log_prob(batch)
    assert torch.isfinite(log_prob).all()
    np.testing.assert_allclose(log_prob[:, :300], -math.log(64), atol=1e-12)
    np.testing.assert_allclose(log_prob[:, 450:], 0, atol=1e-9)
    np.testing.assert_allclose(source.oracle().distribution(batch).log_probs.exp().sum(-1), 1, atol=1e-12)


def test_blocks_of_tokens_have_the_right_frequencies(kit):
    source, topics, _ = kit.listed("induction", tokens=2, shortest=2, longest=4)
    batch = kit.draw(source, topics, [0] * 20_000, 6, seed=3)
    seen = torch.bincount((batch.tokens * 2 ** torch.arange(5, -1, -1)).sum(1), minlength=64).double().numpy()
    law = np.array([probability(word, 2, 2, 4) for word in itertools.product(range(2), repeat=6)])
    assert not seen[law == 0].any()
    possible = law > 0
    assert stats.chisquare(seen[possible], 20_000 * law[possible]).pvalue > 1e-4


def test_a_sequence_is_a_function_of_its_address(kit):
    source, topics, _ = kit.listed("induction")
    before = torch.get_rng_state()
    full = kit.draw(source, topics, [0] * 9, 70)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(kit.draw(source, topics, [0] * 9, 5).tokens, full.tokens[:, :5])
    picked = kit.draw(source, topics, [0] * 2, 70, number=[7, 2])
    assert torch.equal(picked.tokens, full.tokens[[6, 1]])


def test_problems_name_the_field(kit):
    assert "at least shortest = 9, not 8" in kit.problems("induction", shortest=9, longest=8)["longest"]
