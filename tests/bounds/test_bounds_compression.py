"""Codes: real quantisation, lengths that satisfy Kraft, subspaces by address, and what bits cost."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from iclkit.api import Key
from iclkit_bounds import betting, compression
from iclkit_bounds.subspace import Subspace


def weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "layer.weight": torch.randn(40, 30, generator=generator),
        "layer.bias": torch.randn(40, generator=generator),
        "norm": torch.ones(40),
    }


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_quantised_weights_lie_on_their_grid_within_half_a_step(bits):
    state = weights()
    found = compression.quantise(state, bits)
    for name, tensor in state.items():
        assert found.weights[name].shape == tensor.shape and found.weights[name].dtype == torch.float32
        assert len(found.weights[name].unique()) <= 2**bits
        step = float(tensor.max() - tensor.min()) / (2**bits - 1)
        assert float((found.weights[name] - tensor).abs().max()) <= step / 2 + 1e-5
    assert found.weights["norm"].equal(state["norm"])
    assert found.bits <= 1280 * bits + 3 * 65 + compression.integer_bits(bits)
    assert found.cost == pytest.approx(found.bits * math.log(2))


def test_quantisation_is_idempotent_and_its_code_determines_the_weights():
    found = compression.quantise(weights(), 5)
    again = compression.quantise(found.weights, 5)
    for name in found.weights:
        assert again.weights[name] == pytest.approx(found.weights[name].numpy(), abs=1e-6)


def test_the_adaptive_code_pays_only_for_what_varies():
    ends = compression.quantise({"w": torch.arange(4.0)}, 2)  # settings, two floats, one bit, four indices of two bits
    assert ends.bits == compression.integer_bits(2) + 64 + 1 + 8 and ends.weights["w"].equal(torch.arange(4.0))
    constant = {"w": torch.cat([torch.zeros(999), torch.ones(1)])}
    assert compression.quantise(constant, 8).bits < 2500  # 8000 bits in the fixed code; most indices are equal
    moved = {name: tensor + 1e-3 * weights(1)[name] for name, tensor in weights().items()}
    start = weights()
    plain, around = compression.quantise(moved, 4), compression.quantise(moved, 4, start)
    error = lambda q: sum(float((q.weights[n] - moved[n]).abs().max()) for n in moved)  # noqa: E731
    assert error(around) < 0.01 * error(plain)
    still = compression.quantise(start, 4, start)
    assert all(still.weights[n].equal(start[n]) for n in start) and still.bits < 250


def test_code_lengths_satisfy_kraft():
    """Every sequence of six symbols out of three; every integer up to 2^14."""
    total = 0.0
    for word in np.ndindex(*[3] * 6):
        total += 2.0 ** -compression.adaptive_bits(np.bincount(word, minlength=3))
    assert total == pytest.approx(1)
    kraft = sum(Fraction(1, 2 ** compression.integer_bits(n)) for n in range(1, 2**14))
    assert kraft < 1
    assert [compression.integer_bits(n) for n in (1, 2, 3, 4, 7, 8, 15, 16, 1000)] == [1, 4, 4, 5, 5, 8, 8, 9, 16]


def test_what_cannot_be_written_is_refused():
    with pytest.raises(ValueError, match="finite floats"):
        compression.quantise({"count": torch.zeros(1, dtype=torch.int64)}, 4)
    with pytest.raises(ValueError, match="finite floats"):
        compression.quantise({"w": torch.tensor([math.nan])}, 4)
    with pytest.raises(ValueError, match=r"1 \.\. 16"):
        compression.quantise(weights(), 0)
    with pytest.raises(ValueError, match="at least 1"):
        compression.integer_bits(0)


def test_bits_are_paid_in_nats():
    x = np.random.default_rng(0).uniform(1, 2, size=500)
    assert compression.betting_limit(x, 3.0, 0.05, 100) == betting.upper_limit(x, 3.0, 0.05, 100 * math.log(2))
    expected = x.mean() + 3 * math.sqrt((100 * math.log(2) + math.log(20)) / 1000)
    assert compression.azuma_limit(x, 3.0, 0.05, 100) == pytest.approx(expected)
    whole = compression.azuma_limit(np.tile(x, 20), 3.0, 0.05, 100)
    part = compression.subsampled_limit(x, 10_000, 3.0, 0.05, 100)
    assert whole < part < compression.azuma_limit(x, 3.0, 0.05, 100)
    share = 500 / 10_500
    by_hand = math.sqrt((100 * math.log(2) - math.log(share * 0.05)) / 20_000)
    by_hand += math.sqrt(-math.log((1 - share) * 0.05) / 1000)
    assert part == pytest.approx(x.mean() + 3 * by_hand)


def test_a_finite_class_chosen_with_the_data_is_paid_for():
    """The best of 256 useless predictors on 30 coin flips looks good; its bound knows."""
    rng = np.random.default_rng(1)
    losses = rng.integers(0, 2, size=(500, 256, 30)).astype(float)
    best = np.take_along_axis(losses, losses.mean(-1).argmin(-1)[:, None, None], 1)[:, 0]
    assert best.mean() < 0.3
    assert (compression.betting_limit(best, 1.0, 0.1, 8) < 0.5).mean() <= 0.1
    assert (betting.upper_limit(best, 1.0, 0.1) < 0.5).mean() > 0.5  # without the bits


# ---------------------------------------------------------------- subspaces


def test_a_subspace_is_a_function_of_its_key_and_nested():
    start, z = weights(), torch.arange(1, 101, dtype=torch.float64)
    big, again = (Subspace(start, 100, Key.root(3)) for _ in range(2))
    small = Subspace(start, 70, Key.root(3))
    first = big.weights(z)
    assert all(first[n].equal(again.weights(z)[n]) for n in start)
    cut = torch.where(torch.arange(100) < 70, z, 0)
    assert all(big.weights(cut)[n] == pytest.approx(small.weights(z[:70])[n].numpy(), abs=1e-6) for n in start)
    assert not first["norm"].equal(Subspace(start, 100, Key.root(4)).weights(z)["norm"])
    assert all(big.weights(torch.zeros(100))[n].equal(start[n]) for n in start)


def test_directions_are_signs_of_unit_length_nearly_orthogonal(monkeypatch):
    start = weights()
    space = Subspace(start, 130, Key.root(0))
    away = lambda z: torch.cat([(w - start[n]).reshape(-1) for n, w in space.weights(z).items()])  # noqa: E731
    columns = torch.stack([away(row) for row in torch.eye(130)[:5]]).double()
    gram = columns @ columns.T
    assert gram.diagonal().numpy() == pytest.approx(1, abs=1e-4)
    assert float((gram - torch.eye(5)).abs().max()) < 6 / math.sqrt(1280)
    expected = space.weights(torch.ones(130))
    monkeypatch.setattr("iclkit_bounds.subspace._CHUNK", 64 * 7)
    assert all(expected[n].equal(space.weights(torch.ones(130))[n]) for n in start)


def test_the_pulled_back_gradient_is_the_gradient_in_the_coordinates(monkeypatch):
    monkeypatch.setattr("iclkit_bounds.subspace._CHUNK", 64 * 100)
    start = {name: tensor.double() for name, tensor in weights().items()}
    space, z = Subspace(start, 9, Key.root(1)), torch.linspace(-1, 1, 9, dtype=torch.float64)
    loss = lambda state: sum((tensor**3).sum() for tensor in state.values())  # noqa: E731
    gradients = {name: 3 * tensor**2 for name, tensor in space.weights(z).items()}
    numeric = [
        float(loss(space.weights(z + 1e-5 * e)) - loss(space.weights(z - 1e-5 * e))) / 2e-5
        for e in torch.eye(9, dtype=torch.float64)
    ]
    assert space.pulled_back(gradients).tolist() == pytest.approx(numeric, rel=1e-5)
