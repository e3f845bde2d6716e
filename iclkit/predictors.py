"""Predictive distributions, how they are compared, and how predictors are mixed exactly.

Everything is float64 and in nats. A probability of 0 is a log-probability of -inf, never a floor.
"""

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from iclkit.protocols import Batch, Predictor

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@frozen(eq=False)
class CategoricalDistribution:
    """The distribution of the next token at every position.

    Parameters
    ----------
    log_probs : float64 tensor (B, T, V), natural logarithms that sum to 1 over V in probability.

    """

    log_probs: Tensor

    @cached_property
    def probs(self) -> Tensor:
        """The probabilities, float64 (B, T, V)."""
        return self.log_probs.exp()

    @cached_property
    def entropy(self) -> Tensor:
        """-E ln p, float64 (B, T), nats."""
        return -_expect(self, self.log_probs)

    @cached_property
    def everywhere(self) -> bool:
        """Whether no token is ruled out anywhere."""
        return bool((self.probs != 0).all())

    def log_prob(self, tokens: Tensor) -> Tensor:
        """Return the log-probability of tokens, int64 (B, T); float64 (B, T)."""
        return self.log_probs.gather(-1, tokens[..., None]).squeeze(-1)


@frozen(eq=False)
class GaussianDistribution:
    """The Gaussian of the next real token at every position, of its first D channels where it has more.

    Parameters
    ----------
    mean : float tensor (B, T, D).
    scale : its standard deviations, (B, T, D), or a lower triangular factor of its covariance, (B, T, D, D).

    """

    mean: Tensor
    scale: Tensor

    @property
    def scale_tril(self) -> Tensor:
        """The lower triangular factor L of the covariance L L^T, (B, T, D, D)."""
        return self.scale if self.scale.ndim > self.mean.ndim else torch.diag_embed(self.scale)

    def log_prob(self, tokens: Tensor) -> Tensor:
        """Return the log-density of the first D channels of tokens, (B, T, D or more); (B, T)."""
        away = tokens[..., : self.mean.shape[-1]] - self.mean
        if self.scale.ndim == self.mean.ndim:
            terms = -0.5 * (away / self.scale) ** 2 - self.scale.log() - _HALF_LOG_2PI
            return terms.sum(-1)
        white = torch.linalg.solve_triangular(self.scale, away[..., None], upper=False).squeeze(-1)
        return -0.5 * white.square().sum(-1) - self.log_det - away.shape[-1] * _HALF_LOG_2PI

    @property
    def log_det(self) -> Tensor:
        """Half the logarithm of the determinant of the covariance, (B, T)."""
        diagonal = self.scale if self.scale.ndim == self.mean.ndim else self.scale.diagonal(dim1=-2, dim2=-1)
        return diagonal.log().sum(-1)

    @property
    def variance(self) -> Tensor:
        """The sum of the variances of all channels, the trace of the covariance, (B, T)."""
        return self.scale.square().sum(tuple(range(self.mean.ndim - 1, self.scale.ndim)))


Distribution = CategoricalDistribution | GaussianDistribution


def cross_entropy(p: Distribution, q: Distribution) -> Tensor:
    """Return -E_p ln q, float64 (B, T), nats; inf where p allows what q rules out."""
    if isinstance(p, CategoricalDistribution) and isinstance(q, CategoricalDistribution):
        return -_expect(p, q.log_probs)
    return kl(p, q) + entropy(p)


def kl(p: Distribution, q: Distribution) -> Tensor:
    """Return D_KL(p, q) = E_p ln(p / q), float64 (B, T), nats; inf where p allows what q rules out."""
    if isinstance(p, CategoricalDistribution) and isinstance(q, CategoricalDistribution):
        return _expect(p, p.log_probs - q.log_probs)
    if isinstance(p, GaussianDistribution) and isinstance(q, GaussianDistribution):
        return _gaussian_kl(p, q)
    raise TypeError(f"no divergence between {type(p).__name__} and {type(q).__name__}")


def entropy(p: Distribution) -> Tensor:
    """Return -E_p ln p, float64 (B, T), nats (differential entropy for reals)."""
    if isinstance(p, CategoricalDistribution):
        return p.entropy
    return p.log_det + p.mean.shape[-1] * (0.5 + _HALF_LOG_2PI)


def _expect(p: CategoricalDistribution, values: Tensor) -> Tensor:
    """Average values (B, T, V) under p, with 0 times anything being 0."""
    weighted = p.probs * values
    return (weighted if p.everywhere else torch.where(p.probs == 0, 0.0, weighted)).sum(-1)


def _gaussian_kl(p: GaussianDistribution, q: GaussianDistribution) -> Tensor:
    if p.scale.ndim == q.scale.ndim == p.mean.ndim:
        white, away = p.scale / q.scale, (p.mean - q.mean) / q.scale
        return (white.square() - 1 + away.square()).sum(-1) / 2 - white.log().sum(-1)
    lower = q.scale_tril
    white = torch.linalg.solve_triangular(lower, p.scale_tril, upper=False)
    away = torch.linalg.solve_triangular(lower, (p.mean - q.mean)[..., None], upper=False)
    squares = white.square().sum((-2, -1)) + away.square().sum((-2, -1))
    return q.log_det - p.log_det + 0.5 * (squares - p.mean.shape[-1])


class Mixture:
    """The exact Bayes mixture of predictors: each one's weight is its prior times its running evidence.

    P(x_l | x_<l) = sum_k w_k P_k(x_<l) P_k(x_l | x_<l) / sum_k w_k P_k(x_<l). Parts are visited one after the
    other and merged in log space, so memory does not grow with their number.

    Parameters
    ----------
    parts : called once per evaluation; yields (prior weight, predictor). Weights need not sum to 1.

    """

    def __init__(self, parts: Callable[[], Iterator[tuple[float, Predictor]]]):
        self._parts = parts

    def log_prob(self, batch: Batch) -> Tensor:
        """Return float64 (B, T); -inf at a token that no part allows, NaN after it."""
        evidence = torch.tensor(-torch.inf, dtype=torch.float64)
        for weight, part in self._parts():
            evidence = torch.logaddexp(evidence, _evidence(weight, part.log_prob(batch)))
        return evidence.diff(dim=1)  # NaN is -inf minus -inf: no history to condition on

    def mean(self, batch: Batch) -> Tensor | None:
        """Return the mixed conditional mean of real tokens, float64 (B, T, D); None if a part has none."""
        evidence, total = torch.tensor(-torch.inf, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
        for weight, part in self._parts():
            mean = conditional_mean(part, batch)
            if mean is None:
                return None
            before = _evidence(weight, part.log_prob(batch))[:, :-1]
            merged = torch.logaddexp(evidence, before)
            new = (before - merged).exp()[..., None]  # NaN as long as no part allows the history
            mean = torch.where(before[..., None] == -torch.inf, total, mean)
            evidence, total = merged, torch.where(new.isnan(), total, total + new * (mean - total))
        return total.where(evidence[..., None] > -torch.inf, torch.nan)

    def distribution(self, batch: Batch) -> CategoricalDistribution | None:
        """Return the mixed distributions; None if a part has none, and for real tokens."""
        evidence = joint = torch.tensor(-torch.inf, dtype=torch.float64)
        for weight, part in self._parts():
            distribution = part.distribution(batch)
            if not isinstance(distribution, CategoricalDistribution):
                return None
            before = _evidence(weight, distribution.log_prob(batch.tokens))[:, :-1]
            evidence = torch.logaddexp(evidence, before)
            dead = (before == -torch.inf)[..., None]
            part_joint = torch.where(dead, -torch.inf, before[..., None] + distribution.log_probs)
            joint = torch.logaddexp(joint, part_joint)
        return CategoricalDistribution(joint - evidence[..., None])

    def posterior(self, batch: Batch) -> Tensor:
        """Return the weights of the parts given whole sequences, float64 (B, K), rows summing to 1."""
        evidence = [_evidence(weight, part.log_prob(batch))[:, -1] for weight, part in self._parts()]
        return torch.stack(evidence, dim=1).softmax(dim=1)


def conditional_mean(predictor: Any, batch: Batch) -> Tensor | None:
    """Return a predictor's mean of each real token given those before it, float64 (B, T, D); None if it has none."""
    own = getattr(predictor, "mean", None)
    if own is not None:
        return own(batch)
    distribution = predictor.distribution(batch)
    return distribution.mean if isinstance(distribution, GaussianDistribution) else None


def _evidence(weight: float, log_prob: Tensor) -> Tensor:
    """Return ln(weight) plus the log-probability of the tokens before each position 1 .. T+1: (B, T+1)."""
    total = log_prob.nan_to_num(nan=0.0, neginf=-torch.inf).cumsum(1)  # after a -inf all is -inf
    start = torch.zeros_like(total[:, :1])
    return torch.cat([start, total], dim=1) + torch.tensor(weight, dtype=torch.float64).log()


class OneTopic:
    """An oracle that is told that every sequence comes from one topic, right or wrong."""

    def __init__(self, oracle: Predictor, topics: Any, index: int):
        self._oracle, self._topics, self._index = oracle, topics[index : index + 1], index

    def _pretend(self, batch: Batch) -> Batch:
        return batch.replace(topics=self._topics, topic=torch.zeros_like(batch.topic))

    def log_prob(self, batch: Batch) -> Tensor:
        """Return float64 (B, T)."""
        return self._oracle.log_prob(self._pretend(batch))

    def distribution(self, batch: Batch) -> Distribution | None:
        """Return the topic's distributions."""
        return self._oracle.distribution(self._pretend(batch))

    def mean(self, batch: Batch) -> Tensor | None:
        """Return the topic's conditional means of real tokens."""
        return conditional_mean(self._oracle, self._pretend(batch))


def mixture_over(source: Any, topics: Any, weights: Tensor, chunk: int = 256) -> Mixture:
    """Return the exact mixture over topics, asked of the source a chunk of topics at a time.

    `weights` is a float64 tensor (K,). A source without a `mixture` of its own (or whose answer is None) is asked for
    its oracle, one topic after the other.
    """
    own = getattr(source, "mixture", None)
    if own is not None and own(topics[:1], weights[:1]) is None:
        own = None

    def parts() -> Iterator[tuple[float, Predictor]]:
        if own is None:
            oracle = source.oracle()
            for k in range(len(topics)):
                yield float(weights[k]), OneTopic(oracle, topics, k)
        else:
            for start in range(0, len(topics), chunk):
                piece = slice(start, start + chunk)
                yield float(weights[piece].sum()), own(topics[piece], weights[piece])

    return Mixture(parts)


class Uniform:
    """The predictor that knows nothing but the vocabulary."""

    def __init__(self, size: int):
        self.size = size

    def log_prob(self, batch: Batch) -> Tensor:
        """Return -ln V everywhere, float64 (B, T)."""
        return torch.full(batch.tokens.shape, -math.log(self.size), dtype=torch.float64)

    def distribution(self, batch: Batch) -> CategoricalDistribution:
        """Return the uniform distribution everywhere."""
        shape = (*batch.tokens.shape, self.size)
        return CategoricalDistribution(torch.full(shape, -math.log(self.size), dtype=torch.float64))


class Memo:
    """A predictor that computes what it is asked of one batch once."""

    def __init__(self, predictor: Predictor):
        self.predictor = predictor
        self._known: dict[str, Any] = {}

    def log_prob(self, batch: Batch) -> Tensor:
        """Return the predictor's answer for the batch this memo belongs to."""
        if "log_prob" not in self._known:
            distribution = self.distribution(batch)
            self._known["log_prob"] = (
                self.predictor.log_prob(batch) if distribution is None else distribution.log_prob(batch.tokens)
            )
        return self._known["log_prob"]

    def mean(self, batch: Batch) -> Tensor | None:
        """Return the predictor's answer for the batch this memo belongs to."""
        if "mean" not in self._known:
            known = self.distribution(batch)
            if isinstance(known, GaussianDistribution):
                self._known["mean"] = known.mean
            else:
                self._known["mean"] = conditional_mean(self.predictor, batch)
        return self._known["mean"]

    def distribution(self, batch: Batch) -> Distribution | None:
        """Return the predictor's answer for the batch this memo belongs to."""
        if "distribution" not in self._known:
            self._known["distribution"] = self.predictor.distribution(batch)
        return self._known["distribution"]
