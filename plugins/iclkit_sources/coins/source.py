"""Biased coins: given ones, or drawn from a Beta prior; exact by counting.

With n1 ones and n0 zeros before, a coin of bias p gives the history probability p^n1 (1-p)^n0, and a
Beta(alpha, beta) prior predicts Pr(1) = (n1 + alpha) / (n1 + n0 + alpha + beta) (arXiv 2505.18373, 1.5).
"""

from typing import Literal

import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Batch, CategoricalDistribution, Exact, Key
from iclkit_sources.checks import normalised
from iclkit_sources.coins import counting
from iclkit_sources.coins.config import Coins
from iclkit_sources.dirichlet import draw_beta
from iclkit_sources.machines.stack import Machines

Reference = Literal["oracle", "mixture", "population"]

_CELLS = 1 << 22  # (history, coin) pairs looked at together


@frozen(kw_only=True, eq=False)
class CoinTopics:
    """K coins.

    Parameters
    ----------
    bias : float64 tensor (K,), Pr(1).
    numbers : int64 tensor (K,).

    """

    bias: Tensor
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> "CoinTopics":
        return CoinTopics(bias=self.bias[index], numbers=self.numbers[index])


class CoinSource:
    """Coins, listed or drawn."""

    def __init__(self, config: Coins):
        self._prior = config.prior()
        self._biases: Tensor | None = None
        if config.biases is not None:
            self._biases = torch.tensor(config.biases, dtype=torch.float64)
            weights = normalised(config.weights, len(config.biases))
            self._weights = torch.tensor(weights, dtype=torch.float64)

    def topics(self, numbers: Tensor, key: Key) -> CoinTopics:
        """Return the coins of these numbers, int64 (K,)."""
        if self._biases is None:
            return CoinTopics(bias=draw_beta(*self._prior, key), numbers=numbers)
        return CoinTopics(bias=self._biases.to(numbers.device)[numbers - 1], numbers=numbers)

    def sample(self, topics: CoinTopics, topic: Tensor, number: Tensor, length: int, key: Key) -> tuple[Tensor, None]:
        """Toss each sequence's coin: int64 tokens (B, length), all scored."""
        draws = key.uniform(length)
        return (draws < topics.bias.to(draws.device)[topic.to(draws.device), None]).to(torch.int64), None

    def oracle(self) -> "CoinOracle":
        """Return the predictor that knows each sequence's coin."""
        return CoinOracle()

    def mixture(self, topics: CoinTopics, weights: Tensor) -> "CoinMixture":
        """Return the predictor that knows these coins and their weights, float64 (K,)."""
        return CoinMixture(topics.bias, weights)

    def population(self) -> "CoinMixture | BetaCoin":
        """Return the predictor that knows the family: the mixture of listed coins, or the Beta prior."""
        return BetaCoin(*self._prior) if self._biases is None else CoinMixture(self._biases, self._weights)

    def optimum(self, reference: Reference, topics: CoinTopics | None, weights: Tensor | None, length: int) -> Exact:
        """Return the exact floor of a reference, nats, l = 1 .. length."""
        if reference == "population" or topics is None or weights is None:
            if self._biases is None:
                floor = counting.beta_coin_entropy if reference == "oracle" else counting.beta_floor
                return floor(*self._prior, length)
            bias, weights = self._biases, self._weights
        else:
            bias = topics.bias
        law = counting.mean_coin_entropy if reference == "oracle" else counting.listed_floor
        return law(bias.cpu(), weights.cpu(), length)

    def entropy_rate(self, topics: CoinTopics | None, weights: Tensor | None) -> Exact:
        """Return the weighted mean entropy rate of these coins, nats, shape (1,); of the whole family if None."""
        return self.optimum("oracle", topics, weights, 1)

    def bigrams(self, topics: CoinTopics, length: int) -> tuple[Tensor, Tensor]:
        """Return the exact law of the first token (K, 2), and of two neighbours (K, 2, 2), at any length."""
        sides = torch.stack([1 - topics.bias, topics.bias], dim=1)
        return sides, sides[:, :, None] * sides[:, None]

    def compiled(self) -> tuple[Machines, Tensor] | None:
        """Return listed coins as one-state machines with their weights; None for drawn ones."""
        if self._biases is None:
            return None
        shown = torch.stack([1 - self._biases, self._biases], dim=1)  # (K, V)
        machines = Machines(
            transitions=shown[:, :, None, None],
            start=torch.ones(len(shown), 1, dtype=torch.float64),
            numbers=torch.arange(1, len(shown) + 1),
        )
        return machines, self._weights


def build(config: Coins) -> CoinSource:
    """Build the source of a config."""
    return CoinSource(config)


class CoinOracle:
    """The predictor that knows each sequence's coin."""

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l), float64 (B, T), nats; -inf at an impossible token, NaN after."""
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return the coin's distribution at every position."""
        bias = batch.topics.bias[batch.topic]
        log_probs = torch.stack([torch.log1p(-bias), bias.log()], dim=-1)  # (B, 2)
        log_probs = log_probs[:, None].repeat(1, batch.tokens.shape[1], 1)
        zeros, ones = _counts(batch.tokens)
        dead = ((ones > 0) & (bias == 0)[:, None]) | ((zeros > 0) & (bias == 1)[:, None])
        return CategoricalDistribution(log_probs.masked_fill(dead[..., None], torch.nan))


class CoinMixture:
    """The predictor that knows some coins, bias (K,), and weights (K,) of any positive sum; infers which.

    Histories with equal counts are looked at once, all coins together in blocks of histories.
    """

    def __init__(self, bias: Tensor, weights: Tensor):
        self._sides = torch.stack([torch.log1p(-bias), bias.log()])  # (2, K)
        self._log_weights = (weights / weights.sum()).log()

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l), float64 (B, T), nats; -inf where no coin allows the token, NaN after."""
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return Pr(. | x_<l) at every position."""
        zeros, ones = _counts(batch.tokens)
        span = batch.tokens.shape[1] + 1
        seen, which = (zeros * span + ones).unique(return_inverse=True)
        blocks = seen.split(max(1, _CELLS // len(self._log_weights)))
        table = torch.cat([self._predict(block // span, block % span) for block in blocks])
        return CategoricalDistribution(table[which])

    def _predict(self, zeros: Tensor, ones: Tensor) -> Tensor:
        """Return the log-probabilities of both sides after histories with these counts, float64 (n, 2)."""
        evidence = _evidence(zeros, self._sides[0]).add_(_evidence(ones, self._sides[1])).add_(self._log_weights)
        likely = (evidence.softmax(dim=1) @ self._sides.T.exp()).log()  # NaN where no coin allows the history
        remote = (likely == -torch.inf).any(1).nonzero().squeeze(1)
        if len(remote):  # only coins beyond the reach of a float64 weight allow the token, or none does
            evidence = evidence[remote]
            sides = torch.stack([torch.logsumexp(evidence + side, dim=1) for side in self._sides], dim=1)
            likely[remote] = sides - torch.logsumexp(evidence, dim=1, keepdim=True)
        return likely


class BetaCoin:
    """The predictor that knows only the Beta prior."""

    def __init__(self, alpha: float, beta: float):
        self._alpha, self._beta = alpha, beta

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l), float64 (B, T), nats."""
        return self.distribution(batch).log_prob(batch.tokens)

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return the posterior predictive at every position."""
        zeros, ones = _counts(batch.tokens)
        weights = torch.stack([zeros.double() + self._beta, ones.double() + self._alpha], dim=-1)
        return CategoricalDistribution(weights.log() - weights.sum(-1, keepdim=True).log())


def _counts(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many zeros and ones come before each position, int64 (B, T)."""
    ones = tokens.cumsum(1) - tokens
    return torch.arange(tokens.shape[1], device=tokens.device) - ones, ones


def _evidence(count: Tensor, log_prob: Tensor) -> Tensor:
    """Return count (n,) times log_prob (K,), float64 (n, K), with 0 * -inf = 0."""
    product = count[:, None] * log_prob
    if log_prob.isinf().any():
        product.masked_fill_(count[:, None] == 0, 0.0)
    return product
