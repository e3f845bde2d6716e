"""Real tokens through the engine: divergences, mixtures of means, heads, data."""

import math

import pytest
import torch
from attrs import evolve

from iclkit.data import TrainingSequences
from iclkit.heads import ModulePredictor, loss
from iclkit.keys import Key
from iclkit.predictors import (
    GaussianDistribution,
    Memo,
    Mixture,
    conditional_mean,
    cross_entropy,
    entropy,
    kl,
    mixture_over,
)
from iclkit.protocols import Batch
from iclkit.spaces import Categorical, Real
from iclkit.specs import Drawn, Facts

DOUBLE = torch.float64


def _gaussian(seed, shape=(2, 3), dim=3, full=False):
    draws = torch.Generator().manual_seed(seed)
    mean = torch.randn(*shape, dim, generator=draws, dtype=DOUBLE)
    scale = torch.rand(*shape, dim, generator=draws, dtype=DOUBLE) + 0.5
    if full:
        lower = torch.randn(*shape, dim, dim, generator=draws, dtype=DOUBLE).tril(-1)
        scale = lower + torch.diag_embed(scale)
    return GaussianDistribution(mean, scale)


def _batch(tokens, **parts):
    n = len(tokens)
    whole = {
        "mask": torch.ones(tokens.shape[:2], dtype=torch.bool),
        "topics": None,
        "topic": torch.zeros(n, dtype=torch.int64),
        "number": torch.arange(1, n + 1),
    } | parts
    return Batch(tokens=tokens, **whole)


def _peer(gaussian):
    return torch.distributions.MultivariateNormal(gaussian.mean, scale_tril=gaussian.scale_tril)


@pytest.mark.parametrize("full", [(False, False), (False, True), (True, False), (True, True)])
def test_divergences_are_those_of_torch(full):
    p, q = _gaussian(0, full=full[0]), _gaussian(1, full=full[1])
    tokens = _gaussian(2).mean
    close = {"rtol": 1e-12, "atol": 1e-12}
    expected = torch.distributions.kl_divergence(_peer(p), _peer(q))
    torch.testing.assert_close(kl(p, q), expected, **close)
    torch.testing.assert_close(entropy(p), _peer(p).entropy(), **close)
    torch.testing.assert_close(cross_entropy(p, q), expected + _peer(p).entropy(), **close)
    torch.testing.assert_close(p.log_prob(tokens), _peer(p).log_prob(tokens), **close)
    torch.testing.assert_close(p.variance, _peer(p).covariance_matrix.diagonal(dim1=-2, dim2=-1).sum(-1), **close)
    torch.testing.assert_close(p.log_det, _peer(p).covariance_matrix.logdet() / 2, **close)


def test_cross_entropy_is_the_mean_of_the_realised_loss():
    p, q = _gaussian(0, (1, 1), full=True), _gaussian(1, (1, 1))
    torch.manual_seed(0)
    drawn = _peer(p).sample((200_000,))[:, 0]
    realised = -GaussianDistribution(q.mean.expand_as(drawn), q.scale.expand_as(drawn)).log_prob(drawn)
    assert abs(float(realised.mean() - cross_entropy(p, q))) < 5 * float(realised.std()) / math.sqrt(200_000)


def test_a_gaussian_is_of_the_first_channels():
    p = _gaussian(0, dim=2)
    tokens = torch.randn(2, 3, 5, dtype=DOUBLE)
    assert torch.equal(p.log_prob(tokens), p.log_prob(tokens[..., :2]))


class Fixed:
    """Independent tokens of one Gaussian; `closed` says whether it shows its distribution, or a mean alone."""

    def __init__(self, mean, scale, closed=True):
        self.centre, self.scale, self.closed = torch.tensor(mean, dtype=DOUBLE), scale, closed
        self.asked = []

    def _known(self, batch):
        mean = self.centre.expand_as(batch.tokens)
        return GaussianDistribution(mean, torch.full_like(mean, self.scale))

    def log_prob(self, batch):
        self.asked.append("log_prob")
        return self._known(batch).log_prob(batch.tokens)

    def distribution(self, batch):
        self.asked.append("distribution")
        return self._known(batch) if self.closed else None


class MeanOnly(Fixed):
    def __init__(self, mean, scale):
        super().__init__(mean, scale, closed=False)

    def mean(self, batch):
        self.asked.append("mean")
        return self._known(batch).mean


class Nothing(Fixed):
    """Rules every token out."""

    def log_prob(self, batch):
        return torch.full(batch.tokens.shape[:2], -torch.inf, dtype=DOUBLE)


@pytest.mark.parametrize("kind", [Fixed, MeanOnly])
def test_mixture_mean_is_the_posterior_mean(kind):
    parts = [(0.2, kind([0.0, 1.0], 1.0)), (0.5, kind([2.0, -1.0], 0.5)), (0.3, kind([1.0, 0.0], 2.0))]
    batch = _batch(torch.randn(4, 5, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)))
    mixture = Mixture(lambda: iter(parts))
    found, logs = mixture.mean(batch), mixture.log_prob(batch)
    assert mixture.distribution(batch) is None
    for row in range(4):
        weights = torch.tensor([weight for weight, _ in parts], dtype=DOUBLE)
        for at in range(5):
            expected = sum(w * part.centre for w, (_, part) in zip(weights, parts, strict=True))
            torch.testing.assert_close(found[row, at], expected, rtol=1e-12, atol=1e-12)
            density = torch.stack([part._known(batch).log_prob(batch.tokens)[row, at].exp() for _, part in parts])
            assert float(logs[row, at]) == pytest.approx(math.log(float(weights @ density)), abs=1e-11)
            weights = weights * density / (weights @ density)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_part_that_rules_a_sequence_out_leaves_the_others_mean(order):
    parts = [(0.5, Nothing([9.0], 1.0)), (0.5, Fixed([1.0], 1.0))]
    mean = Mixture(lambda: iter([parts[i] for i in order])).mean(_batch(torch.zeros(1, 3, 1, dtype=DOUBLE)))
    assert mean.flatten().tolist() == [5.0, 1.0, 1.0]
    nothing = Mixture(lambda: iter(parts[:1])).mean(_batch(torch.zeros(1, 3, 1, dtype=DOUBLE)))
    assert nothing.isnan().flatten().tolist() == [False, True, True]


def test_the_weight_of_a_far_part_does_not_underflow():
    parts = [(0.5, Fixed([0.0], 1.0)), (0.5, Fixed([100.0], 1.0))]
    batch = _batch(torch.full((1, 400, 1), 100.0, dtype=DOUBLE))
    mixture = Mixture(lambda: iter(parts))
    torch.testing.assert_close(mixture.mean(batch)[0, 1:], torch.full((399, 1), 100.0, dtype=DOUBLE))
    assert mixture.log_prob(batch).isfinite().all()


def test_memo_asks_a_predictor_once():
    shown, hidden = Fixed([0.0], 1.0), MeanOnly([0.0], 1.0)
    batch = _batch(torch.zeros(1, 3, 1, dtype=DOUBLE))
    for predictor, expected in ((shown, ["distribution"]), (hidden, ["distribution", "mean", "log_prob"])):
        memo = Memo(predictor)
        for _ in range(2):
            memo.mean(batch), memo.log_prob(batch), memo.distribution(batch)
        assert predictor.asked == expected


def test_a_predictor_without_a_mean_has_none():
    batch = _batch(torch.zeros(1, 3, 1, dtype=DOUBLE))
    silent = Fixed([0.0], 1.0, closed=False)
    assert conditional_mean(silent, batch) is None
    assert Mixture(lambda: iter([(1.0, silent)])).mean(batch) is None


def test_a_mixture_over_topics_has_the_mean_of_their_oracles(found):
    spec = found.registry.get("source", "lds").spec
    made = spec.load()(spec.config())
    numbers = torch.arange(1, 5)
    topics = made.topics(numbers, Key.root(0).fold(numbers))
    key = Key.root(1).fold(torch.arange(3))
    tokens, _ = made.sample(topics, torch.tensor([0, 1, 3]), torch.arange(3), 6, key)
    batch = _batch(tokens, topics=topics, topic=torch.tensor([0, 1, 3]))

    class OracleOnly:
        oracle = made.oracle

    weights = torch.full((4,), 0.25, dtype=DOUBLE)
    slow, fast = mixture_over(OracleOnly(), topics, weights), mixture_over(made, topics, weights, chunk=3)
    torch.testing.assert_close(slow.mean(batch), fast.mean(batch), rtol=0, atol=1e-11)
    torch.testing.assert_close(slow.log_prob(batch), fast.log_prob(batch), rtol=0, atol=1e-11)


class Line(torch.nn.Module):
    """Reads (B, T, dim + 1), answers (B, T, out), or a pair with a learned scale."""

    def __init__(self, dim, out, learned=False, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.learned = torch.nn.Linear(dim + 1, out).to(dtype), learned

    def forward(self, inputs):
        mean = self.layer(inputs.to(self.layer.weight.dtype))
        return (mean, 0.1 * mean) if self.learned else mean


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("space", [Real(3), Real(3, 1), Real(3, 2)])
def test_loss_is_the_gaussian_likelihood_of_the_scored_channels(space, learned, bos):
    facts = Facts(space=space, topics=Drawn(), noise=0.3)
    tokens = torch.randn(2, 5, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[:, ::2] = False
    batch = _batch(tokens, mask=mask)
    module = Line(3, space.scored, learned)
    predictor = ModulePredictor(module, facts, bos)
    got, logs = loss(module, facts, batch, bos).detach(), predictor.log_prob(batch)
    begin = torch.tensor([0.0, 0.0, 0.0, 1.0])
    for row in range(2):
        for at in range(5):
            if at == 0 and not bos:
                assert logs[row, at].isnan()
                assert got[row, at] == 0
                continue
            seen = begin if at == 0 else torch.cat([tokens[row, at - 1].float(), torch.zeros(1)])
            with torch.no_grad():
                answer = module(seen)
            mean, scale = (answer[0], answer[1].exp()) if learned else (answer, torch.full((space.scored,), 0.3))
            expected = torch.distributions.Normal(mean, scale).log_prob(tokens[row, at, : space.scored].float()).sum()
            assert float(logs[row, at]) == pytest.approx(float(expected), abs=1e-4)
            assert float(got[row, at]) == pytest.approx(-float(expected) if mask[row, at] else 0.0, abs=1e-4)
    assert predictor.mean(batch).shape == (2, 5, space.scored)
    if not learned:
        assert (predictor.distribution(batch).scale[:, 1:] == 0.3).all()  # not what float32 makes of 0.3


def test_a_module_in_half_precision_has_an_exact_scale():
    facts = Facts(space=Real(2), topics=Drawn(), noise=0.1)
    tokens = torch.zeros(1, 3, 2, dtype=DOUBLE)
    module = Line(2, 2, dtype=torch.bfloat16)
    with torch.no_grad():
        module.layer.weight.zero_(), module.layer.bias.zero_()
    expected = 2 * (math.log(0.1) + 0.5 * math.log(2 * math.pi))
    got = loss(module, facts, _batch(tokens), True)
    assert got.dtype == torch.float32
    assert got.tolist() == [[pytest.approx(expected, rel=1e-6)] * 3]


@pytest.mark.parametrize("shape", [(), (1,), (2,), (1, 3, 1), (1, 3, 2)])
def test_a_learned_scale_may_be_shared(shape):
    class Shared(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.log_scale = torch.nn.Parameter(torch.full(shape, 0.7))

        def forward(self, inputs):
            return torch.zeros(*inputs.shape[:2], 2), self.log_scale

    facts = Facts(space=Real(3, 2), topics=Drawn(), noise=0.1)
    scale = ModulePredictor(Shared(), facts, True).distribution(_batch(torch.zeros(1, 3, 3, dtype=DOUBLE))).scale
    assert scale.shape == (1, 3, 2)
    torch.testing.assert_close(scale, torch.full_like(scale, math.exp(0.7)), rtol=1e-6, atol=0)


def test_spaces_say_which_channels_are_predicted():
    assert Real(4).scored == 4
    assert Real(4, 1) != Real(4)
    for scored in (0, 5):
        with pytest.raises(ValueError, match=r"scored must be 1 \.\. dim = 4"):
            Real(4, scored)
    assert Categorical(3).size == 3


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_models_answer_the_predicted_channels_alone(found, tiny, planned, kind):
    tiny["source"] = {"kind": "linear-regression", "dimension": 3}
    tiny["model"] = {"kind": kind, "width": 8, "layers": 1}
    config = planned(tiny).cells[0].config
    module = config.model.build(config.source.facts.space, 8)
    assert module(torch.zeros(2, 8, 5)).shape == (2, 8, 1)


def test_data_are_the_same_kept_sampled_or_cut(planned, tiny, monkeypatch):
    """Finite data are kept in memory up to a size in bytes, channels counted; larger ones are sampled anew."""
    tiny["source"] = {"kind": "lds", "dimension": 4}
    tiny["data"] |= {"topics": 3, "sequences": 5}
    config = planned(tiny).cells[0].config
    kept = TrainingSequences(config, config.source.build())
    assert kept._sampler.bytes == 8 * 4 * 8
    batches = [kept.batch(step, 4) for step in range(5)]
    assert kept._kept is not None
    monkeypatch.setattr("iclkit.data._KEPT_BYTES", 15 * kept._sampler.bytes - 1)
    sampled = TrainingSequences(config, config.source.build())
    for step, batch in enumerate(batches):
        again = sampled.batch(step, 4)
        assert torch.equal(batch.tokens, again.tokens)
        assert batch.tokens.dtype == DOUBLE
        assert batch.mask.shape == batch.tokens.shape[:2]
    assert sampled._kept is None
    fresh = evolve(config, data=evolve(config.data, topics="fresh", sequences="fresh"))
    one, two = (TrainingSequences(fresh, config.source.build()) for _ in range(2))
    monkeypatch.setattr("iclkit.data._BLOCK", 1)
    alone = two.batch(3, 4)
    monkeypatch.undo()
    assert torch.equal(one.batch(3, 4).tokens, alone.tokens)
