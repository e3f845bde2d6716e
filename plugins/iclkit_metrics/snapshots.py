"""Which snapshots a metric that costs more than a pass looks at."""

from collections.abc import Sequence


def chosen(steps: Sequence[int], count: int) -> dict[int, int]:
    """Return {place: step} of at most `count` of the snapshots, spread evenly over them; the last one always."""
    last = len(steps) - 1
    count = min(count, len(steps))
    places = {last - round(i * last / max(1, count - 1)) for i in range(count)}
    return {place: steps[place] for place in sorted(places)}
