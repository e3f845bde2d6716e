import math

import pytest
import torch
from attrs import frozen

from iclkit.predictors import CategoricalDistribution, Memo, Mixture, Uniform, cross_entropy, entropy, kl, mixture_over
from iclkit.protocols import Batch


@frozen(eq=False)
class Coins:
    """Topics that are biases, as the simplest source would have them."""

    numbers: torch.Tensor
    bias: torch.Tensor

    def __len__(self):
        return len(self.bias)

    def __getitem__(self, index):
        return Coins(self.numbers[index], self.bias[index])


class Oracle:
    def log_prob(self, batch):
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch):
        bias = batch.topics.bias[batch.topic][:, None].expand(batch.tokens.shape)
        return CategoricalDistribution(torch.stack([1 - bias, bias], dim=-1).log())


class Source:
    def oracle(self):
        return Oracle()


BIASES = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
WEIGHTS = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
TOPICS = Coins(torch.arange(1, 4), BIASES)


def _batch(tokens):
    tokens = torch.tensor(tokens)
    n = len(tokens)
    return Batch(
        tokens=tokens,
        mask=torch.ones(tokens.shape, dtype=torch.bool),
        topics=TOPICS,
        topic=torch.zeros(n, dtype=torch.int64),
        number=torch.arange(1, n + 1),
    )


def _by_hand(sequence):
    """P(x_l | x_<l) of the mixture from joint probabilities."""
    joint = [
        sum(
            float(w) * math.prod(float(b) if x else 1 - float(b) for x in sequence[:l])
            for w, b in zip(WEIGHTS, BIASES, strict=True)
        )
        for l in range(len(sequence) + 1)
    ]
    return [math.log(joint[l + 1] / joint[l]) for l in range(len(sequence))]


def test_mixture_is_bayes():
    batch = _batch([[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
    mixture = mixture_over(Source(), TOPICS, WEIGHTS)
    expected = torch.tensor([_by_hand(row) for row in batch.tokens.tolist()], dtype=torch.float64)
    torch.testing.assert_close(mixture.log_prob(batch), expected, rtol=0, atol=1e-14)
    distribution = mixture.distribution(batch)
    torch.testing.assert_close(distribution.log_prob(batch.tokens), expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(distribution.log_probs.exp().sum(-1), torch.ones(3, 4, dtype=torch.float64))


def test_a_part_that_rules_a_sequence_out_drops_out():
    batch = _batch([[1, 0, 1]])
    posterior = mixture_over(Source(), TOPICS, WEIGHTS).posterior(batch)
    assert posterior[0, 2] == 0  # the coin that always shows 1
    torch.testing.assert_close(posterior.sum(1), torch.ones(1, dtype=torch.float64))


def test_impossible_is_minus_infinity_and_undefined_after():
    sure = mixture_over(Source(), TOPICS[2:], WEIGHTS[2:])
    values = sure.log_prob(_batch([[1, 0, 1]]))[0]
    assert values[0] == 0
    assert values[1] == -torch.inf
    assert values[2].isnan()


def test_divergences():
    p = CategoricalDistribution(torch.tensor([[[0.5, 0.5, 0.0]]], dtype=torch.float64).log())
    q = CategoricalDistribution(torch.tensor([[[0.25, 0.25, 0.5]]], dtype=torch.float64).log())
    assert kl(p, q).item() == pytest.approx(math.log(2))
    assert entropy(p).item() == pytest.approx(math.log(2))
    assert cross_entropy(p, q).item() == pytest.approx(math.log(4))
    assert kl(q, p).item() == math.inf


def test_memo_asks_once():
    asked = []

    class Counting(Uniform):
        def distribution(self, batch):
            asked.append(1)
            return super().distribution(batch)

    memo, batch = Memo(Counting(2)), _batch([[0, 1]])
    memo.distribution(batch), memo.log_prob(batch), memo.log_prob(batch)
    assert len(asked) == 1


def test_a_part_without_distribution_leaves_none():
    class Silent(Uniform):
        def distribution(self, batch):
            return None

    mixture = Mixture(lambda: iter([(1.0, Silent(2))]))
    assert mixture.distribution(_batch([[0, 1]])) is None
    assert mixture.log_prob(_batch([[0, 1]]))[0, 0] == pytest.approx(-math.log(2))
