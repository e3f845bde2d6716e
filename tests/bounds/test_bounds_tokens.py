"""Bounds for martingales: on small Markov chains, against the training-prefix loss computed exactly."""

import math

import numpy as np
import pytest

from iclkit_bounds import bernstein, compression, hellinger, prequential
from iclkit_bounds.smoothing import token_mix

V, N, T, DELTA = 3, 12, 40, 0.1


def worlds(rng, draws):
    """Sequences (draws, N, T) of one random chain each, and the true conditionals at every prefix (.., T, V)."""
    chains = rng.dirichlet(np.full(V, 0.4), size=(draws, V))
    tokens = np.zeros((draws, N, T + 1), int)  # a first token that is given
    for t in range(T):
        rows = chains[np.arange(draws)[:, None], tokens[..., t]].cumsum(-1)
        tokens[..., t + 1] = (rng.random((draws, N, 1)) > rows[..., :-1]).sum(-1)
    return tokens, chains[np.arange(draws)[:, None, None], tokens[..., :-1]]


def fitted(tokens, levels=9):
    """A chain fitted by counting, on a grid of `levels` values per entry: a finite class whose code length is known."""
    counts = np.zeros((len(tokens), V, V))
    np.add.at(counts, (np.arange(len(tokens))[:, None, None], tokens[..., :-1], tokens[..., 1:]), 1)
    share = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    grid = np.maximum(np.round(share * (levels - 1)), 0.05)  # the code: V*V grid values
    return grid / grid.sum(-1, keepdims=True), V * V * math.log2(levels)


@pytest.fixture(scope="module")
def study():
    """Losses of the fitted predictor on the very sequences it was fitted to, and all exact quantities."""
    tokens, true = worlds(np.random.default_rng(0), 300)
    model, bits = fitted(tokens)
    rows = model[np.arange(300)[:, None, None], tokens[..., :-1]]
    smooth = 0.9 * rows + 0.1 / V
    own = np.take_along_axis(rows, tokens[..., 1:, None], -1)[..., 0]
    mixed = token_mix(np.log(own), V, 0.1)
    flat = lambda a: a.reshape(300, -1, *a.shape[3:])  # noqa: E731
    with np.errstate(divide="ignore"):
        logs, truth = np.log(flat(smooth)), np.log(flat(true))
    exact = np.array([hellinger.exact_loss(t, m) for t, m in zip(truth, logs, strict=True)])
    return {"tokens": tokens, "losses": flat(mixed.losses), "upper": float(mixed.upper), "least": float(mixed.least),
            "bits": bits, "smooth": logs, "truth": truth, "exact": exact}  # fmt: skip


def test_exact_loss_is_entropy_plus_divergence(study):
    p, q = np.exp(study["truth"][0]), np.exp(study["smooth"][0])
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, -p * np.log(p) + p * np.log(p / q), 0.0)
    assert study["exact"][0] == pytest.approx(terms.sum(-1).mean())


@pytest.mark.parametrize("name", ["azuma", "centred"])
def test_token_bounds_hold_against_the_exact_training_prefix_loss(study, name):
    x, upper, bits = study["losses"], study["upper"], study["bits"]
    entropy = -(np.exp(study["smooth"]) * study["smooth"]).sum(-1)  # the model's own: known before the token is
    limits = {
        "azuma": lambda: compression.azuma_limit(x, upper, DELTA, bits, study["least"]),
        "centred": lambda: compression.centred_limit(x, entropy, upper, 0.0, DELTA, bits),
    }[name]()
    assert (limits < study["exact"]).sum() <= 3  # a cost of 20 nats makes a violation all but impossible
    assert (limits - study["exact"]).mean() < {"azuma": 0.55, "centred": 0.4}[name]


def test_centred_bound_holds_at_its_level_without_cost():
    """A fixed predictor on many draws: the martingale itself, counted; and with half the price it would fail."""
    rng = np.random.default_rng(1)
    n, upper = 12, 1.0
    p = np.where(rng.random((4000, n)) < 0.5, 0.05, 0.3)  # means that depend on the past: drawn as the game goes on
    x = (rng.random((4000, n)) < p).astype(float)
    limit = bernstein.centred(x, prequential.running_centres(x, 0.0), upper, 0.0, DELTA)
    assert (limit < p.mean(-1)).mean() <= 0.1
    cheat = x.mean(-1) + 0.5 * (limit - x.mean(-1))
    assert (cheat < p.mean(-1)).mean() > 0.02 >= (limit < p.mean(-1)).mean()


def test_hellinger_limit_holds_with_the_price_of_the_code(study):
    cost = study["bits"] * math.log(2)
    own = np.take_along_axis(study["truth"], flat_tokens(study), -1)[..., 0]
    ratios = own + study["losses"]  # ln P - ln p
    largest = math.log(V / 0.1)
    for i in range(100):
        limit = hellinger.hellinger_limit(ratios[i], DELTA, cost)
        assert hellinger.exact_hellinger(study["truth"][i], study["smooth"][i]) <= limit
        loss = hellinger.token_loss_limit(ratios[i], study["truth"][i], DELTA, largest, cost)
        assert study["exact"][i] <= loss


def flat_tokens(study):
    return study["tokens"][..., 1:].reshape(300, -1, 1)


def test_hellinger_martingale_has_mean_one():
    """exp sum (-Z/2 - ln E exp(-Z/2)) over all sequences of three tokens of a chain, enumerated."""
    rng = np.random.default_rng(2)
    p, q = rng.dirichlet(np.ones(V), size=(2, V))
    total = 0.0
    for path in np.ndindex(V, V, V):
        state, chance, log = 0, 1.0, 0.0
        for x in path:
            overlap = np.sqrt(p[state] * q[state]).sum()
            assert overlap == pytest.approx(1 - ((np.sqrt(p[state]) - np.sqrt(q[state])) ** 2).sum() / 2)
            chance, log = chance * p[state, x], log - math.log(p[state, x] / q[state, x]) / 2 - math.log(overlap)
            state = x
        total += chance * math.exp(log)
    assert total == pytest.approx(1)


def test_hellinger_formulas():
    ratios = np.array([0.3, -0.1, 0.4])
    limit = 0.2 + 2 * (1.5 + math.log(20)) / 3
    assert hellinger.hellinger_limit(ratios, 0.05, 1.5) == pytest.approx(limit)
    assert hellinger.token_kl_limit(ratios, 0.05, 4.0, 1.5) == pytest.approx(6 * limit)
    entropy = 0.5 * math.log(2)  # of a fair coin and a certain one
    with np.errstate(divide="ignore"):
        truth = np.log([[0.5, 0.5], [1.0, 0.0]])
    assert hellinger.token_loss_limit(ratios, truth, 0.05, 4.0, 1.5) == pytest.approx(entropy + 6 * limit)


def test_divergence_is_at_most_two_plus_c_times_hellinger():
    rng = np.random.default_rng(3)
    p, q = rng.dirichlet(np.full(4, 0.2), size=(2, 20_000)) + 1e-12
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    ratio, kl = np.log(p / q).max(-1), (p * np.log(p / q)).sum(-1)
    assert (kl <= (2 + ratio) * ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(-1) + 1e-12).all()
    assert (kl <= ratio / -np.expm1(-ratio) * abs(p - q).sum(-1) / 2 + 1e-12).all()


# ---------------------------------------------------------------- prequential


def test_one_stage_is_the_bound_with_fixed_predictor():
    x = np.random.default_rng(4).uniform(0.5, 1.5, size=(3, 30))
    assert prequential.staged([x], 2.0, 0.3, 0.1) == pytest.approx(prequential.one_pass(x, 2.0, 0.3, 0.1))
    parts = [x[:, :10], x[:, 10:]]  # of unequal size: by default every unit weighs the same
    assert prequential.staged(parts, 2.0, 0.3, 0.1) == pytest.approx(prequential.one_pass(x, 2.0, 0.3, 0.1))
    halves = np.repeat([1 / 20, 1 / 40], [10, 20])
    expected = prequential.one_pass(x, 2.0, 0.3, 0.1, halves)
    assert prequential.staged(parts, 2.0, 0.3, 0.1, [0.5, 0.5]) == pytest.approx(expected)


def test_centres_know_only_the_past():
    x = np.array([0.5, 1.0, 0.0, 2.0])
    assert prequential.running_centres(x, 0.4).tolist() == pytest.approx([0.4, 0.5, 0.75, 0.5])
    changed = prequential.running_centres([0.5, 1.0, 0.0, 9.0], 0.4)
    assert changed.tolist() == prequential.running_centres(x, 0.4).tolist()


def test_formula_of_the_centred_bound():
    x, c, upper, low = np.array([1.0, 1.4, 0.8]), np.array([1.1, 0.9, 1.0]), 2.0, 0.5
    b, n, mean = upper - low, 3, 3.2 / 3
    v = ((x - c) ** 2).mean()
    by_hand = min(
        mean + g / b * ((-math.log(1 - g) - g) / g**2) * v + b * (0.7 - math.log(share * 0.1)) / (g * n)
        for g, share in bernstein.GRID
    )
    assert bernstein.centred(x, c, upper, low, 0.1, 0.7) == pytest.approx(min(by_hand, upper))
    assert sum(share for _, share in bernstein.GRID) <= 1
    assert bernstein.psi(1e-5) == pytest.approx(0.5, abs=1e-5) and bernstein.psi(0.5) > bernstein.psi(0.1)
    with pytest.raises(ValueError, match=r"below 0\.5"):
        bernstein.centred(x, 0.4, upper, low, 0.1)
    with pytest.raises(ValueError, match="sum to 1"):
        bernstein.centred(x, c, upper, low, 0.1, weights=[0.5, 0.5, 0.5])


def test_unequal_weights_only_count_what_they_weigh():
    x = np.random.default_rng(5).uniform(0.5, 1.5, size=40)
    last = np.repeat([0.0, 1 / 20], 20)
    other = np.concatenate([np.full(20, 1.0), x[20:]])
    same = [bernstein.centred(v, 1.0, 2.0, 0.5, 0.1, weights=last) for v in (x, other)]
    assert same[0] == same[1] == pytest.approx(float(bernstein.centred(x[20:], 1.0, 2.0, 0.5, 0.1)))


def test_the_mixture_of_checkpoints_is_a_probability_and_no_worse_than_its_parts():
    logs = np.log(np.random.default_rng(6).dirichlet(np.ones(9), size=4))
    shares = np.array([0.5, 0.0, 0.2, 0.3])
    mixed = prequential.mixture_log_likelihood(logs, shares)
    assert np.exp(mixed).sum() == pytest.approx(1)
    assert (-mixed <= -(shares[:, None] * logs).sum(0) + 1e-12).all()
    with pytest.raises(ValueError, match="sum to 1"):
        prequential.mixture_log_likelihood(logs, [0.5, 0.5, 0.5, 0.5])
