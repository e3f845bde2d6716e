"""Markov chains of order m over V tokens, of which dice (m = 0) are the simplest.

A topic is a table of rows, one distribution of the next token for each of the C = V^m contexts; the context of
x_{l-m} .. x_{l-1} has index sum_j x_{l-j} V^(j-1). The first m tokens are uniform. Drawn rows are Dirichlet(a),
independent of each other, so that counts n of what followed each context predict (n_cv + a_v) / (n_c + sum a).
"""

from typing import Literal

import torch
from attrs import frozen
from torch import Tensor

from iclkit.api import Exact, Key
from iclkit_sources.chains import floors as chain_floors
from iclkit_sources.chains.bigrams import chain_bigrams
from iclkit_sources.chains.configs import Dice, Markov
from iclkit_sources.chains.predictors import ChainMixture, ChainOracle, ConjugateChain, next_context
from iclkit_sources.checks import normalised
from iclkit_sources.dirichlet import draw_log_dirichlet
from iclkit_sources.machines.sampling import edges, invert
from iclkit_sources.machines.stack import Machines

Reference = Literal["oracle", "mixture", "population"]

_DRAWS = 1 << 15  # random numbers made together: what a core's cache holds


@frozen(kw_only=True, eq=False)
class ChainTopics:
    """K chains.

    Parameters
    ----------
    log_rows : float64 tensor (K, C, V), ln Pr(v | context).
    numbers : int64 tensor (K,).

    """

    log_rows: Tensor
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> "ChainTopics":
        return ChainTopics(log_rows=self.log_rows[index], numbers=self.numbers[index])


class ChainSource:
    """Markov chains or dice, drawn from Dirichlet(prior) or listed.

    Parameters
    ----------
    prior : float64 tensor (V,), the Dirichlet parameters; of no use to listed chains.
    order : m.
    listed : all chains of a listed family with their weights (K,), of any positive sum.

    """

    def __init__(self, prior: Tensor, order: int, listed: tuple[ChainTopics, Tensor] | None = None):
        self._prior, self._order, self._listed = prior, order, listed

    def topics(self, numbers: Tensor, key: Key) -> ChainTopics:
        """Make the chains of these numbers, int64 (K,); `key` has one state per topic."""
        if self._listed is None:
            rows = draw_log_dirichlet(self._prior, len(self._prior) ** self._order, key.fold("rows"))
            return ChainTopics(log_rows=rows, numbers=numbers)
        family = self._listed[0]
        return ChainTopics(log_rows=family.log_rows.to(numbers.device)[numbers - 1], numbers=numbers)

    def sample(self, topics: ChainTopics, topic: Tensor, number: Tensor, length: int, key: Key) -> tuple[Tensor, None]:
        """Sample one sequence per entry of `topic`: int64 tokens (B, length), all scored."""
        device = key.states.device
        contexts, size = topics.log_rows.shape[1:]
        steps = edges(topics.log_rows.exp()).to(device)
        uniform = edges(torch.ones(size, dtype=torch.float64)).to(device)
        base, width = topic.to(device) * contexts, steps.shape[-1]
        draws = torch.empty(length, len(topic), dtype=torch.float64, device=device)
        block = max(1, _DRAWS // length)
        for begin in range(0, len(topic), block):
            draws[:, begin : begin + block] = key[slice(begin, begin + block)].uniform(length).T
        tokens = torch.empty(length, len(topic), dtype=torch.int64, device=device)
        context = torch.zeros_like(base)
        for step in range(length):
            if step < self._order:
                tokens[step] = invert(uniform, torch.zeros_like(base), draws[step])
            else:
                tokens[step] = invert(steps, (base + context) * width, draws[step])
            context = next_context(context, tokens[step], size, contexts)
        return tokens.T.contiguous(), None

    def oracle(self) -> ChainOracle:
        """Return the predictor that knows each sequence's chain."""
        return ChainOracle(self._order)

    def mixture(self, topics: ChainTopics, weights: Tensor) -> ChainMixture:
        """Return the predictor that knows these chains and their weights, float64 (K,)."""
        return ChainMixture(topics.log_rows, weights, self._order)

    def population(self) -> ChainMixture | ConjugateChain:
        """Return the predictor that knows the family: the mixture of listed chains, or the Dirichlet law."""
        if self._listed is None:
            return ConjugateChain(self._prior, self._order)
        return self.mixture(*self._listed)

    def optimum(
        self, reference: Reference, topics: ChainTopics | None, weights: Tensor | None, length: int
    ) -> Exact | None:
        """Return the exact floor of a reference, nats, l = 1 .. length; NaN past the budget of counts."""
        if reference == "population" or topics is None or weights is None:
            if self._listed is None:
                return chain_floors.drawn_floor(self._prior, self._order, length, known=reference == "oracle")
            topics, weights = self._listed
        rows, weights = topics.log_rows.cpu(), (weights / weights.sum()).cpu()
        if reference == "oracle":
            return chain_floors.oracle_floor(rows, weights, self._order, length)
        return chain_floors.mixture_floor(rows, weights, self._order, length)

    def entropy_rate(self, topics: ChainTopics | None, weights: Tensor | None) -> Exact | None:
        """Return the weighted mean entropy rate of these topics, nats, shape (1,).

        Over the whole family it is known where the order is 0, or the chains are listed; else None.
        """
        if topics is None or weights is None:
            if self._listed is None:
                return self.optimum("oracle", None, None, 1) if self._order == 0 else None
            topics, weights = self._listed
        return chain_floors.entropy_rate(topics.log_rows.cpu(), (weights / weights.sum()).cpu())

    def bigrams(self, topics: ChainTopics, length: int) -> tuple[Tensor, Tensor]:
        """Return the laws of the first token (K, V) and of neighbours (K, V, V), the mean over l = 2 .. length."""
        return chain_bigrams(topics.log_rows.exp(), self._order, length)

    def compiled(self) -> tuple[Machines, Tensor] | None:
        """Return listed dice as one-state machines with their weights; None for other chains."""
        if self._listed is None or self._order > 0:
            return None
        family, weights = self._listed
        faces = family.log_rows[:, 0].exp()  # (K, V)
        machines = Machines(
            transitions=faces[:, :, None, None],
            start=torch.ones(len(faces), 1, dtype=torch.float64),
            numbers=family.numbers,
        )
        return machines, weights / weights.sum()


def build_markov(config: Markov) -> ChainSource:
    """Build the source of a config."""
    return ChainSource(torch.tensor(config.prior(), dtype=torch.float64), config.order)


def build_dice(config: Dice) -> ChainSource:
    """Build the source of a config."""
    prior = torch.tensor(config.prior(), dtype=torch.float64)
    if config.faces is None:
        return ChainSource(prior, 0)
    faces = torch.tensor(config.faces, dtype=torch.float64)
    faces = faces / faces.sum(1, keepdim=True)
    family = ChainTopics(log_rows=faces.log()[:, None], numbers=torch.arange(1, len(faces) + 1))
    weights = normalised(config.weights, len(config.faces))
    return ChainSource(prior, 0, (family, torch.tensor(weights, dtype=torch.float64)))
