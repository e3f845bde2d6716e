"""The topics that can be told apart by number in a cell."""

from typing import Any

from iclkit.api import Listed, MeasuredCell


def family_of(cell: MeasuredCell) -> Any:
    """Return the K topics the training knows, or all of a listed source, with `topics` and `weights`; else None."""
    if cell.known is None and isinstance(cell.facts.topics, Listed):
        return cell.fresh(len(cell.facts.topics.weights))
    return cell.known
