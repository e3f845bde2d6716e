"""Two drawn families: one for training, the other for the fresh topics of the evaluation."""

from typing import Any, Literal

import torch
from torch import Tensor

from iclkit.api import Exact, Key
from iclkit_sources.mixtures.components import ComponentMixture, ComponentOracle, MixedTopics
from iclkit_sources.mixtures.config import Mixture
from iclkit_sources.mixtures.translation import Translated
from iclkit_sources.violations.config import Violations

Reference = Literal["oracle", "mixture", "population"]

_EVALUATION = 1 << 39
"""Topics numbered from here on are fresh topics of the evaluation, which count down from 2**40."""


class Shifted(ComponentMixture):
    """A source whose topics of large numbers come from another one.

    The population predictor knows which of the two laws a sequence's topic was drawn from: on each split it is the
    optimum under that split's own law.
    """

    def __init__(self, config: Violations, source: Any, test: Any):
        assert config.shifted is not None
        super().__init__(Mixture(components=(config.source, config.shifted)), (source, test))

    def _components(self, numbers: Tensor, key: Key) -> Tensor:
        return (numbers >= _EVALUATION).to(torch.int64)

    def population(self) -> Any:
        """Return the predictor that knows only the law of each sequence's topic; None if there is none of one law."""
        known = [getattr(source, "population", lambda: None)() for source in self._sources]
        if any(predictor is None for predictor in known):
            return None
        return ComponentOracle(
            [Translated(predictor, words) for predictor, words in zip(known, self._vocabularies, strict=True)]
        )

    def optimum(
        self, reference: Reference, topics: MixedTopics | None, weights: Tensor | None, length: int
    ) -> Exact | None:
        """Return the exact floor, nats: over fresh topics that of the evaluation's law."""
        if topics is None:
            ask = getattr(self._sources[1], "optimum", None)
            return None if ask is None else ask(reference, None, None, length)
        if reference == "mixture" and weights is not None and not bool(topics.component.any()):
            ask = getattr(self._sources[0], "optimum", None)
            return None if ask is None else ask("mixture", topics.parts[0][topics.place], weights, length)
        return super().optimum(reference, topics, weights, length)
