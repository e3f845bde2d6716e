"""Single tokens of the training prefixes: smoothed probabilities beside the true ones."""

from collections.abc import Iterable, Iterator

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from iclkit.api import Batch, CategoricalDistribution, MeasuredCell, NotApplicable, Predictor
from iclkit_bounds import smoothing
from iclkit_bounds.certificates.sequences import cut
from iclkit_bounds.units import Array


@frozen(kw_only=True, eq=False)
class Tokens:
    """The scored tokens of some sequences; natural logarithms, float64 (tokens, V).

    Parameters
    ----------
    truth : ln P_t, the source's own law of the next token given the topic.
    model : ln p~_t of the smoothed predictor.
    token : int64 (tokens,), what came.

    """

    truth: Array
    model: Array
    token: NDArray[np.int64]

    def own(self, log_probs: Array) -> Array:
        """Return the log-probabilities of what came, (tokens,)."""
        return np.take_along_axis(log_probs, self.token[:, None], -1)[:, 0]


def tokens(
    cell: MeasuredCell, predictor: Predictor, parts: Iterable[Batch], size: int, weight: float
) -> Iterator[Tokens]:
    """Iterate over the scored tokens of sequences, some sequences at a time; `weight` is that of the uniform mix.

    Raises NotApplicable where the source does not tell its own law.
    """
    oracle = cell.source.oracle() if "oracle" in cell.facts.references else None
    for batch in (piece for part in parts for piece in cut(part)):
        truth = None if oracle is None else oracle.distribution(batch)
        model = predictor.distribution(batch)
        if not isinstance(truth, CategoricalDistribution) or not isinstance(model, CategoricalDistribution):
            raise NotApplicable("the source does not tell the true law of the next token")
        mixed = smoothing.token_mix(model.log_probs[batch.mask].numpy(), size, weight)
        yield Tokens(
            truth=truth.log_probs[batch.mask].numpy(), model=-mixed.losses, token=batch.tokens[batch.mask].numpy()
        )
