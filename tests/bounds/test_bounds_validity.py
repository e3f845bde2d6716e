"""Do certificates hold as often as they say? Counted over independent worlds; and does the count catch bad ones?"""

import math

import numpy as np
import pytest
import torch

from iclkit_bounds import bernstein, betting, concentration, langevin, pacbayes, prequential
from iclkit_bounds.concentration import binomial_tail
from iclkit_bounds.smoothing import seq_mix, token_mix
from iclkit_bounds.units import topic_means

V, T, D, K, N, DELTA = 5, 24, 32, 30, 6, 0.1
ATOMS = 8
ADD_ONE = np.concatenate([np.log1p(np.arange(24)), np.zeros(D - 24)])  # public weights: add-one smoothing of bigrams
TOPIC = np.repeat(np.arange(K), N)
LEAST_CENTRE = {"dirichlet": 1.0, "two-types": 0.4}  # declared: a guess of the smallest mean loss


def acceptable(violations, draws):
    """Tell whether a bound that may fail in a tenth of the draws could have failed this often."""
    return 1 - binomial_tail(violations - 1, draws, DELTA) >= 0.01 if violations > 0 else True


class Study:
    """Every estimator on R worlds of one source: `bounds`, `truths` and `bad` ones, float64 (R,) each, by name."""

    def __init__(self, small, source, draws, steps, fresh, seed=7):
        self.rng, self.source, self.noisy_path = np.random.default_rng(seed), source, small.noisy_path
        make, world = small.sources[source], lambda *of: small.Worlds(small.sequences(self.rng, *of))
        matrices = make(self.rng, (draws, K))
        self.draws, self.start = draws, np.tile(ADD_ONE, (draws, 1))
        self.all, self.same_topics = world(matrices, N), world(matrices, max(1, fresh // K))
        self.new_topics = world(make(self.rng, (draws, fresh)), 1)
        self.bounds, self.truths, self.bad = {}, {}, {}
        self.on_sequences(steps)
        self.on_topics(steps)
        self.known_bad()

    def losses(self, worlds, weights):
        return seq_mix(worlds.log_probs(weights).sum(-1), T, V).losses

    def on_sequences(self, steps):
        second = np.tile(np.arange(N) >= N // 2, K)  # half of each topic's sequences make the prior
        seen, held, upper = self.all[~second], self.all[second], self.upper
        prior = seen.trained(self.start, steps)
        x, truth = self.losses(held, prior), self.losses(self.same_topics, prior).mean(-1)
        self.put("seq holdout betting", betting.upper_limit(x, upper, DELTA), truth)
        for name in ("hoeffding", "chernoff", "seeger", "maurer_pontil"):
            self.put(f"seq holdout {name}", getattr(concentration, name)(x, upper, DELTA), truth)

        both, scale = self.all.trained(prior, steps // 3), 0.05
        mean = prior + 0.3 * (both - prior)
        drawn = mean + scale * self.rng.standard_normal(mean.shape)
        pairs = [[torch.from_numpy(v) for v in row] for row in zip(drawn, mean, prior, strict=True)]
        ratio = [pacbayes.log_ratio(a, b, c, scale) for a, b, c in pairs]
        limit = pacbayes.single_draw(self.losses(held, drawn), upper, DELTA, ratio)
        self.put("seq single draw", limit, self.losses(self.same_topics, drawn).mean(-1))

        atoms = prior + scale * self.rng.standard_normal((ATOMS, *prior.shape))  # a prior of a few equal atoms
        values = np.stack([self.losses(held, atom) for atom in atoms], axis=1)  # (R, atoms, n)
        n, posterior = values.shape[-1], np.exp(-values.mean(-1) * values.shape[-1] / upper)
        posterior /= posterior.sum(-1, keepdims=True)
        gibbs = lambda statistic: (posterior * statistic).sum(-1)  # noqa: E731
        kl = gibbs(np.log(posterior * ATOMS))
        truth = gibbs(np.stack([self.losses(self.same_topics, atom).mean(-1) for atom in atoms], axis=-1))
        centre = self.losses(seen, prior).mean(-1)[:, None, None]
        low = float(centre.min())
        squares = gibbs(((values - centre) ** 2).mean(-1)) / n
        limit = bernstein.from_moments(gibbs(values.mean(-1)), squares, 1 / n, upper, low, DELTA, kl)
        self.put("seq Gibbs centred", limit, truth)
        for name in ("seeger", "mcallester", "thiemann", "catoni"):
            limit = getattr(pacbayes, name)(gibbs(values.mean(-1)), n, upper, DELTA, kl)
            self.put(f"seq Gibbs {name}", limit, truth)

        last, path_kl, path_noise = self.noisy_path(self.rng, self.start, seen, held, steps, rate=4.0, beta=600.0)
        self.path_cost = path_kl + path_noise
        limit = langevin.upper_limit(self.losses(held, last), upper, DELTA, path_kl, path_noise)
        self.put("seq Langevin path", limit, self.losses(self.same_topics, last).mean(-1))

    def on_topics(self, steps):
        held = np.repeat(np.arange(K) >= K // 2, N)
        self.held = self.all[held]
        self.prior = self.all[~held].trained(self.start, steps)
        self.topic_losses = self.losses(self.held, self.prior)
        self.truth = self.losses(self.new_topics, self.prior).mean(-1)
        means = topic_means(self.topic_losses, TOPIC[held])
        self.put("top holdout betting", betting.upper_limit(means, self.upper, DELTA), self.truth)
        self.put("top holdout floor", betting.floor_limit(means, self.upper, DELTA), self.truth)
        for name in ("hoeffding", "empirical_bernstein"):
            self.put(f"top holdout {name}", getattr(concentration, name)(means, self.upper, DELTA), self.truth)

        weights, scored, checkpoints = self.start, [], []
        for first in range(5, K, 5):  # fit on all topics so far, score the next five
            weights = self.all[first > TOPIC].trained(weights, steps // 2)
            stage = (first <= TOPIC) & (first + 5 > TOPIC)
            scored.append(topic_means(self.losses(self.all[stage], weights), TOPIC[stage]))
            checkpoints.append(weights)
        limit = prequential.staged(scored, self.upper, LEAST_CENTRE[self.source], DELTA)
        sums = np.stack([self.new_topics.log_probs(checkpoint).sum(-1) for checkpoint in checkpoints])
        mixture = prequential.mixture_log_likelihood(sums, np.full(len(sums), 1 / len(sums)))
        self.put("top prequential", limit, seq_mix(mixture, T, V).losses.mean(-1))

    def known_bad(self):
        """Bounds that everybody has met and that do not hold."""
        few = self.all[np.arange(4) * N]
        fitted = few.trained(np.zeros_like(self.start), 150, rate=12.0)
        limit = betting.upper_limit(self.losses(few, fitted), self.upper, DELTA)
        self.put_bad("train as test", limit, self.losses(self.new_topics, fitted).mean(-1))
        tokens = token_mix(self.held.log_probs(self.prior), V)
        truth = token_mix(self.new_topics.log_probs(self.prior), V).losses.mean((-1, -2))
        limit = betting.upper_limit(tokens.losses.reshape(self.draws, -1), float(tokens.upper), DELTA)
        self.put_bad("tokens as units", limit, truth)
        x = self.topic_losses
        slack = self.upper * np.sqrt(np.log(1 / DELTA) / (2 * K // 2 * T))
        self.put_bad("literal rate", x.mean(-1) + slack, self.truth)
        means = topic_means(x, np.repeat(np.arange(K // 2), N))
        normal = float(torch.special.ndtri(torch.tensor(1 - DELTA)))
        for name, units in (("central limit", means), ("pseudo-replicated", x)):
            limit = units.mean(-1) + normal * units.std(-1, ddof=1) / np.sqrt(units.shape[-1])
            self.put_bad(name, limit, self.truth)

    @property
    def upper(self):
        return float(seq_mix(0.0, T, V).upper)

    def put(self, name, bound, truth):
        self.bounds[name], self.truths[name] = bound, truth

    def put_bad(self, name, bound, truth):
        self.bad[name] = int((bound < truth).sum())

    def violations(self):
        return {name: int((self.bounds[name] < self.truths[name]).sum()) for name in self.bounds}


SIZES = {"draws": 200, "steps": 10, "fresh": 240}
FULL = {"draws": 200, "steps": 40, "fresh": 480}


@pytest.fixture(scope="module", params=["dirichlet", "two-types"])
def study(request, small_worlds):
    return request.param, Study(small_worlds, request.param, **SIZES)


def test_valid_bounds_hold_as_often_as_they_say(study):
    _, found = study
    assert {name: n for name, n in found.violations().items() if not acceptable(n, found.draws)} == {}


def test_bounds_are_not_merely_large(study):
    source, found = study
    mean = {name: float(bound.mean()) for name, bound in found.bounds.items()}
    gap = {name: float((found.bounds[name] - found.truths[name]).mean()) for name in mean}
    limits = {"dirichlet": (0.12, 0.16, 0.20), "two-types": (0.20, 0.40, 0.30)}[source]
    assert gap["seq holdout betting"] < limits[0] and gap["top holdout betting"] < limits[1]
    assert gap["seq Langevin path"] < limits[2] and gap["seq single draw"] < limits[2]
    assert mean["top holdout betting"] < mean["top holdout hoeffding"] < mean["top holdout empirical_bernstein"]
    assert mean["seq Gibbs centred"] < mean["seq Gibbs seeger"] < mean["seq Gibbs mcallester"]


def test_known_bad_bounds_are_caught_where_they_fail(study):
    source, found = study
    failing = {"dirichlet": {"train as test"}, "two-types": set(found.bad) - {"train as test"}}[source]
    assert {name for name, n in found.bad.items() if not acceptable(n, found.draws)} >= failing


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("source", ["dirichlet", "two-types"])
def test_a_thousand_worlds(source, small_worlds):
    studies = [Study(small_worlds, source, **FULL, seed=seed) for seed in range(5)]
    counts = {name: sum(found.violations()[name] for found in studies) for name in studies[0].bounds}
    assert {name: n for name, n in counts.items() if not acceptable(n, 1000)} == {}


# ---------------------------------------------------------------- controls


def test_random_tokens_cannot_be_certified_below_their_entropy():
    """A memoriser of ten sequences has a training loss of 0; held-out sequences give the limit, vacuous."""
    rng = np.random.default_rng(0)
    train, fresh = rng.integers(V, size=(10, T)), rng.integers(V, size=(30, T))
    known = {tuple(row) for row in train}
    sums = lambda rows: np.array([-math.log(10) if tuple(row) in known else -np.inf for row in rows])  # noqa: E731
    fitted, held = seq_mix(sums(train), T, V), seq_mix(sums(fresh), T, V)
    assert fitted.losses.max() < 0.11
    limit = betting.upper_limit(held.losses, float(held.upper), DELTA)
    assert limit >= math.log(V) and float(held.model_weight) == 0  # the fallback is what would be certified
    chances = rng.dirichlet(np.ones(V), size=(300, T))  # and predictors that are wrong in all other ways
    tokens = rng.integers(V, size=(300, 20, T))
    own = np.log(chances[np.arange(300)[:, None, None], np.arange(T), tokens]).sum(-1)
    found = seq_mix(own, T, V)
    assert (betting.upper_limit(found.losses, float(found.upper), DELTA) < math.log(V) - 1e-3).mean() <= 0.1


def test_memorised_topics_have_a_good_sequence_and_a_vacuous_topic_certificate():
    """The exact mixture over ten noisy permutations of 20 tokens, on fresh sequences of theirs and of others."""
    rng, size = np.random.default_rng(1), 20
    steps = rng.random((310, size)).argsort(-1)
    tokens = rng.integers(size, size=(310, 5, T))
    for t in range(1, T):
        follows = steps[np.arange(310)[:, None], tokens[..., t - 1]]
        tokens[..., t] = np.where(rng.random((310, 5)) < 0.96, follows, tokens[..., t])
    logs = np.log(0.96 * np.eye(size)[steps[:10]] + 0.04 / size)
    sums = logs[:, tokens[..., :-1], tokens[..., 1:]].sum(-1) - math.log(size)  # (10, topics, 5)
    found = seq_mix(np.logaddexp.reduce(sums, axis=0) - math.log(10), T, size)
    upper = float(found.upper)
    on_sequences = betting.upper_limit(found.losses[:10].reshape(-1), upper, DELTA)
    on_topics = betting.upper_limit(found.losses[10:].mean(-1), upper, DELTA)
    assert on_sequences < 1.0 < math.log(size) < on_topics <= upper


def test_no_model_is_below_the_bayes_predictor_of_its_source(small_worlds):
    rng = np.random.default_rng(2)
    matrices = small_worlds.sources["dirichlet"](rng, (1, 60))
    train = small_worlds.Worlds(small_worlds.sequences(rng, matrices, 6))
    fresh = small_worlds.Worlds(small_worlds.sequences(rng, small_worlds.sources["dirichlet"](rng, (1, 6000)), 1))
    bayes = np.concatenate([np.log(np.arange(24) + 0.3), np.zeros(D - 24)])[None]
    floor = fresh.log_probs(bayes).sum(-1)
    for steps in (0, 5, 30):
        excess = (floor - fresh.log_probs(train.trained(ADD_ONE[None], steps)).sum(-1)) / T
        assert excess.mean() > -3 * excess.std() / math.sqrt(excess.size)
