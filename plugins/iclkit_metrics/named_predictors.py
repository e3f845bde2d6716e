"""The predictors that a model can be compared with by name: exact references and naive ones."""

from collections.abc import Mapping, Sequence

from iclkit.api import MeasuredCell, Memo, NotApplicable, Predictor, ScoredBatch, naive_predictors
from iclkit_metrics.families import family_of


def naive_of(cell: MeasuredCell, split: str) -> dict[str, Predictor]:
    """Return the naive predictors of a cell, by name; what the source does not tell is counted in a split."""
    family = family_of(cell)
    topics, weights = (None, None) if family is None else (family.topics, family.weights)
    return naive_predictors(cell.source, cell.facts, topics, weights, cell.batches(split), cell.length)


def predictors_on(
    batch: ScoredBatch, naive: Mapping[str, Predictor], wanted: Sequence[str] | None
) -> dict[str, Predictor]:
    """Return the named predictors that exist on a batch, all or those that are wanted, which compute things once.

    References that are one law have one name, the first. Raises NotApplicable where there is none of a name.
    """
    found: dict[str, Predictor] = {}
    laws: set[int] = set()
    for name, reference in batch.references.items():
        law = id(getattr(reference, "predictor", reference))
        if law not in laws or (wanted is not None and name in wanted):
            found[name] = reference
        laws.add(law)
    found |= {name: Memo(predictor) for name, predictor in naive.items()}
    if wanted is None:
        return found
    missing = [name for name in wanted if name not in found]
    if missing:
        raise NotApplicable(f"there is no predictor {missing[0]} here; there are {', '.join(found) or 'none'}")
    return {name: found[name] for name in wanted}
