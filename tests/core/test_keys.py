import torch

from iclkit.keys import Key


def _reference(x):
    mask = (1 << 64) - 1
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def test_bits_are_splitmix64():
    key = Key(torch.tensor(123456789))
    expected = [_reference((123456789 + k * 0x9E3779B97F4A7C15) % (1 << 64)) for k in (1, 2, 3)]
    assert [int(value) % (1 << 64) for value in key.bits(3)] == expected


def test_a_draw_depends_on_its_address_alone():
    stream = Key.root(3).fold("sequences")
    many = stream.fold(torch.arange(100)).uniform(20)
    some = stream.fold(torch.tensor([42, 7])).uniform(5)
    assert torch.equal(some[0], many[42, :5])
    assert torch.equal(some[1], many[7, :5])


def test_words_and_their_order_matter():
    root = Key.root(0)
    keys = [root, root.fold("a"), root.fold("b"), root.fold("a").fold("b"), root.fold("b").fold("a"), Key.root(1)]
    assert len({int(key.states) for key in keys}) == len(keys)


def test_uniform_is_uniform_and_independent_across_addresses():
    draws = Key.root(11).fold(torch.arange(1000)).uniform(200)
    assert draws.min() >= 0 and draws.max() < 1
    counts = torch.bincount((draws.flatten() * 100).long(), minlength=100).double()
    assert ((counts - 2000) ** 2 / 2000).sum() < 160  # chi-square, 99 degrees: p about 1e-4
    for other in (draws[1:].flatten(), draws[:-1].flatten().roll(1)):
        pair = torch.corrcoef(torch.stack([draws[:-1].flatten(), other]))
        assert abs(pair[0, 1]) < 0.01


def test_normal_has_the_moments_of_a_normal():
    draws = Key.root(5).normal(100_000)
    assert draws.isfinite().all()
    assert abs(draws.mean()) < 0.015
    assert abs(draws.var() - 1) < 0.02
    assert abs((draws**4).mean() - 3) < 0.15


def test_categorical_follows_weights_and_never_draws_weight_zero():
    weights = torch.tensor([0.0, 1.0, 3.0, 0.0], dtype=torch.float64)
    counts = Key.root(2).fold(torch.arange(40_000)).categorical(weights).bincount(minlength=4)
    assert counts[0] == counts[3] == 0
    assert abs(counts[1] / 40_000 - 0.25) < 0.01


def test_no_global_generator_is_touched():
    before = torch.get_rng_state()
    Key.root(0).normal(10)
    assert torch.equal(before, torch.get_rng_state())
