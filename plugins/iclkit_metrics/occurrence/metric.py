"""Loss on a token by how often it came before."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from iclkit.api import Categorical, MeasuredCell, NotApplicable, ScoredBatch
from iclkit_metrics.scored_positions import first_predicted, since


class Occurrence:
    """Loss on the n-th occurrence of a token in its sequence, n = 1 .. most, nats (arXiv 2505.18373, 4.3 and 4.4).

    Tokens are those of the config; else those a source tells by a method `recurring_tokens()` -> token indices, whose
    recurrence is what its in-context learning is about, such as the names of mr-name; else all of them. Losses are
    those of the tokens that came, for only they occurred: a sequence's value is its mean over the tokens that occur
    for the n-th time at a scored position, and each sequence that has one counts once. Without a begin token position 1
    is not predicted and left out, of the references too; these are averaged over what they do not rule out.

    What copies from the context has its loss fall from the first to the second occurrence; a bigram or unigram
    predictor has one loss for all. Of mr-name with two names the optimum pays (ln 12) / 6 + (5 ln 2) / 6 = .992 for
    the first and nothing for the others, the bigram .693 for each after "Mr.".
    """

    def __init__(self, config: Any):
        self._config = config
        self._tokens: Tensor | None = None
        self._first = 1  # the first position that the models predict
        self.coords = {"occurrence": list(range(1, config.most + 1))}

    def begin(self, cell: MeasuredCell) -> None:
        """Look up the tokens; raises NotApplicable for real ones, and for indices that are no token."""
        if not isinstance(cell.facts.space, Categorical):
            raise NotApplicable("a real token never occurs twice; this is for categorical tokens")
        tokens = self._config.tokens
        if tokens is None:
            tokens = getattr(cell.source, "recurring_tokens", tuple)()
        wrong = [token for token in tokens if token >= cell.facts.space.size]
        if wrong:
            raise NotApplicable(f"tokens: {wrong[0]} is none; allowed: 0 .. {cell.facts.space.size - 1}")
        self._tokens = torch.tensor(tokens) if tokens else None
        self._first = first_predicted(cell)

    def score(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return the model's loss by occurrence, float64 (B, most)."""
        return {"occurrence_loss": self._by_occurrence(batch, batch.model)}

    def score_references(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return the references' losses, float64 (B, R, most), and which occurrences there are, (B, most)."""
        place = self._place(batch)
        scores = {"occurrence_share": self._sums(place, torch.ones_like(place, dtype=torch.float64)).clamp(max=1)}
        if batch.references:
            each = [self._by_occurrence(batch, reference) for reference in batch.references.values()]
            floors = torch.stack(each, dim=1)
            scores["occurrence_floor"] = floors.where(floors.isfinite(), torch.nan)
        return scores

    def _by_occurrence(self, batch: ScoredBatch, predictor: Any) -> Tensor:
        loss, place = -predictor.log_prob(batch), self._place(batch)
        return self._sums(place, loss) / self._sums(place, torch.ones_like(loss))  # 0 / 0 is NaN

    def _sums(self, place: Tensor, values: Tensor) -> Tensor:
        """Return the sum of values (B, T) over the tokens of a sequence that occur for the n-th time, (B, most)."""
        total = torch.zeros(len(values), self._config.most + 1, dtype=torch.float64)
        return total.scatter_add_(1, place, values)[:, 1:]

    def _place(self, batch: ScoredBatch) -> Tensor:
        """Return n where a token of the class is scored and occurs for the n-th time, n <= most, else 0: (B, T)."""
        number = occurrences(batch.tokens)
        counted = since(batch.mask, self._first) & (number <= self._config.most)
        if self._tokens is not None:
            counted &= torch.isin(batch.tokens, self._tokens)
        return torch.where(counted, number, 0)


def occurrences(tokens: Tensor) -> Tensor:
    """Return the how-manieth of its kind each token is in its sequence, int64 (B, T), from 1."""
    ordered, order = tokens.contiguous().sort(dim=1, stable=True)
    rank = torch.arange(1, tokens.shape[1] + 1) - torch.searchsorted(ordered, ordered)  # place in the run of its kind
    return torch.empty_like(tokens).scatter_(1, order, rank)
