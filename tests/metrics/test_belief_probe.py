"""A belief written into the hidden state is read with R^2 = 1; shuffled, with about 0."""

import numpy as np
import pytest
import torch
from torch import nn

import iclkit
from iclkit.api import Batch, Key, mixture_over
from iclkit_metrics.belief_probe.regression import LinearProbe, Moments
from iclkit_metrics.belief_probe.targets import belief_state, topic_posterior

MESS3 = iclkit.source("mess3", x=0.1, a=0.7)
COINS = {"kind": "coins", "biases": [0.3, 0.5, 0.9]}


def batch_of(source, numbers, rows, length, key=0):
    numbers = torch.tensor(numbers)
    topics = source.topics(numbers, Key.root(5).fold(numbers))
    topic = torch.arange(rows) % len(numbers)
    number = torch.arange(1, rows + 1)
    tokens, _ = source.sample(topics, topic, number, length, Key.root(key).fold(number))
    return Batch(tokens=tokens, mask=tokens >= 0, topics=topics, topic=topic, number=number)


class Believer(nn.Module):
    """Filters mess3, and holds the belief under a random linear map beside noise that tells nothing."""

    def __init__(self):
        super().__init__()
        self.machine = MESS3.topics(torch.tensor([1]), None)
        draw = torch.Generator().manual_seed(0)
        self.map = nn.Parameter(torch.randn(3, 6, generator=draw, dtype=torch.float64))
        self.held, self.blind = nn.Identity(), nn.Identity()
        self.taps = {"held": "held", "blind": "blind"}

    def forward(self, inputs):  # (B, T) -> (B, T, 3)
        belief, beliefs = self.machine.start.expand(len(inputs), -1), []
        for token in inputs.T:
            moved = (belief[:, None] @ self.machine.transitions[0][token.clamp(max=2)])[:, 0]
            seen = (token < 3)[:, None]  # the begin token says nothing
            belief = torch.where(seen, moved / moved.sum(-1, keepdim=True), belief)
            beliefs.append(belief)
        belief = torch.stack(beliefs, dim=1)
        self.held(7 + belief @ self.map)
        self.blind(torch.sin(1e3 * torch.arange(belief[..., 0].numel())).view(*inputs.shape, 1))
        return (belief @ self.machine.emissions[0].T).log()


def probed(model, source, **config):
    bos = config.pop("bos", True)
    length, topics = config.pop("length", 16), config.pop("topics", "fresh")
    metric = {"kind": "belief-probe"} | config
    return iclkit.measure(model, source, [metric], length=length, sequences=256, topics=topics, bos=bos)


@pytest.mark.parametrize("bos", [True, False], ids=["bos", "no bos"])
def test_a_belief_that_is_written_is_read(bos):
    data = probed(Believer(), MESS3, bos=bos, points=50)
    assert data["belief_r2"].dims == ("layer", "target")
    assert data["target"].values.tolist() == ["belief"]
    assert float(data["belief_r2"].sel(layer="held").item()) == pytest.approx(1, abs=1e-4)
    assert abs(data["belief_r2"].sel(layer="blind").item()) < 0.03
    assert (abs(data["belief_r2_shuffled"]) < 0.02).all()
    assert data["belief_projection"].sizes == {"layer": 2, "point": 50, "state": 3}
    np.testing.assert_allclose(data["belief_projection"].sel(layer="held"), data["belief"], atol=0.01)
    np.testing.assert_allclose(data["belief"].sum("state"), 1, atol=1e-12)


class Counter(nn.Module):
    """Holds the posterior of three coins."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(COINS["biases"], dtype=torch.float64))
        self.held = nn.Identity()
        self.taps = {"held": "held"}

    def forward(self, inputs):
        ones, zeros = ((inputs == token).cumsum(1)[..., None] for token in (1, 0))
        posterior = (ones * self.bias.log() + zeros * (1 - self.bias).log()).softmax(-1)
        self.held(posterior)
        one = posterior @ self.bias
        return torch.stack([1 - one, one], dim=-1).log()


def test_a_posterior_that_is_written_is_read():
    data = probed(Counter(), COINS, topics=3, points=0)
    assert data["target"].values.tolist() == ["topic"]
    assert data["belief_r2"].item() == pytest.approx(1, abs=1e-3)
    assert abs(data["belief_r2_shuffled"].item()) < 0.02
    assert "belief_projection" not in data


def test_the_posterior_is_bayes_and_the_belief_is_what_the_mixture_filters():
    source = iclkit.source("mr-name", names=3)
    batch = batch_of(source, [1, 2, 3], 12, 10)
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    posterior = topic_posterior(source, batch.topics, weights, batch)
    mixture = mixture_over(source, batch.topics, weights)
    for length in (1, 4, 9):
        begun = batch.replace(tokens=batch.tokens[:, :length], mask=batch.mask[:, :length])
        whole = torch.stack(
            [
                source.oracle().log_prob(begun.replace(topic=torch.full((12,), k))).nan_to_num(neginf=-torch.inf).sum(1)
                for k in range(3)
            ],
            dim=1,
        )
        np.testing.assert_allclose(posterior[:, length - 1], (whole + weights.log()).softmax(1), atol=1e-12)
    predicted = torch.zeros(12, 9, 6, dtype=torch.float64)
    for k in range(3):
        told = batch.replace(topic=torch.full((12,), k))
        shown = source.oracle().distribution(told).log_probs[:, 1:].exp()
        predicted += posterior[..., k, None] * shown.nan_to_num()
    np.testing.assert_allclose(predicted, mixture.distribution(batch).log_probs[:, 1:].exp(), atol=1e-12)


@pytest.mark.parametrize("name", ["mess3", "random-hmm", "mr-name", "ginc", "fanizza"])
def test_beliefs_predict_what_the_oracle_predicts(name):
    """Pr(x_l | x_<l, topic) is the belief's mean of the states' own predictions, whatever the source."""
    source = iclkit.source(name)
    batch = batch_of(source, [1], 20, 12)
    belief = belief_state(source, batch)
    np.testing.assert_allclose(belief.sum(-1), 1, atol=1e-9)
    told = source.oracle().distribution(batch).log_probs[:, 1:].exp()
    if name == "ginc":
        topics = batch.topics
        chain = torch.kron(topics.entity_moves, topics.property_moves[0])
        shown = nn.functional.one_hot(topics.memory.flatten(), topics.symbols).double()
        np.testing.assert_allclose(belief @ chain @ shown, told, atol=1e-9)
    else:
        np.testing.assert_allclose(belief @ batch.topics.emissions[0].T, told, atol=1e-9)


def test_regression_is_least_squares_and_its_r2_is_that_of_the_residuals():
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(400, 5, generator=draw, dtype=torch.float64) + 1e3
    y = x[:, :2] @ torch.randn(2, 3, generator=draw, dtype=torch.float64)
    y += torch.randn(400, 3, generator=draw, dtype=torch.float64)
    fitted, held = Moments().add(x[:120], y[:120]).add(x[120:200], y[120:200]), Moments().add(x[200:], y[200:])
    fitted.add(torch.full((1, 5), torch.nan), y[:1])
    assert fitted.count == 200
    probe = LinearProbe(fitted, ridge=0.0)
    one = torch.cat([torch.ones(200, 1), x[:200]], dim=1).numpy()
    expected = np.linalg.lstsq(one, y[:200].numpy(), rcond=None)[0]
    np.testing.assert_allclose(probe(x[200:]), np.insert(x[200:].numpy(), 0, 1, axis=1) @ expected, atol=1e-6)
    left = (y[200:] - probe(x[200:])).square().sum()
    total = (y[200:] - y[200:].mean(0)).square().sum()
    assert probe.r2(held) == pytest.approx(float(1 - left / total), abs=1e-8)
    assert np.isnan(probe.r2(Moments().add(x, torch.ones(400, 3))))


def test_what_cannot_be_probed_is_told():
    one_coin = iclkit.measure(Counter(), {"kind": "coins", "biases": [0.5]}, ["belief-probe"], length=4, sequences=8)
    assert "no hidden state to believe in" in one_coin["belief_probe_not_applicable"].item()
    given = MESS3.oracle()
    assert "is no torch module" in probed(given, MESS3)["belief_probe_not_applicable"].item()
    assert "there is no split train" in probed(given, MESS3, split="train")["belief_probe_not_applicable"].item()
