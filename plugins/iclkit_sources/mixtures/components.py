"""Mixtures of any sources, each component sampled and predicted by its own code."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from attrs import evolve, frozen
from torch import Tensor

from iclkit.api import Batch, CategoricalDistribution, Exact, Key, Listed, mixture_over
from iclkit.api import Mixture as MixturePredictor
from iclkit_sources.mixtures.config import Mixture, mixture_facts
from iclkit_sources.mixtures.translation import Translated, Vocabulary

Reference = Literal["oracle", "mixture", "population"]

_METHODS = ("closed-form", "mixed-state-matrix", "belief-enumeration", "monte-carlo")


@frozen(kw_only=True, eq=False)
class MixedTopics:
    """K topics of a mixture.

    Parameters
    ----------
    component : int64 tensor (K,), which component each belongs to.
    place : int64 tensor (K,), where in its component's part it is.
    parts : for each component some of its own topics.
    numbers : int64 tensor (K,).

    """

    component: Tensor
    place: Tensor
    parts: tuple[Any, ...]
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> "MixedTopics":
        return evolve(self, component=self.component[index], place=self.place[index], numbers=self.numbers[index])


class ComponentMixture:
    """A mixture of sources of any kind; drawn if one of them is."""

    def __init__(self, config: Mixture, sources: Sequence[Any]):
        self._sources = tuple(sources)
        self._weights = torch.tensor(config.component_weights(), dtype=torch.float64)
        families = [component.facts.topics for component in config.components]
        self._listings = [family.weights if isinstance(family, Listed) else None for family in families]
        size = config.size()
        self._vocabularies = [Vocabulary(tokens, size) for tokens in config.maps()]
        self._listed = isinstance(mixture_facts(config).topics, Listed)

    def topics(self, numbers: Tensor, key: Key) -> MixedTopics:
        """Make the topics of these numbers, int64 (K,); a drawn family draws each one's component first."""
        component = self._components(numbers, key)
        place, parts = torch.zeros_like(numbers), []
        first = 1
        for index, (source, listing) in enumerate(zip(self._sources, self._listings, strict=True)):
            rows = (component == index).nonzero().squeeze(1)
            own, own_key = numbers[rows], key[rows].fold("topic")
            if self._listed:
                own = own - first + 1
                first += len(listing or ())
            elif listing is not None:
                weights = torch.tensor(listing, dtype=torch.float64, device=numbers.device)
                own = 1 + own_key.fold("listed").categorical(weights, 1).squeeze(-1)
            place[rows] = torch.arange(len(rows), device=numbers.device)
            parts.append(source.topics(own, own_key))
        return MixedTopics(component=component, place=place, parts=tuple(parts), numbers=numbers)

    def _components(self, numbers: Tensor, key: Key) -> Tensor:
        if not self._listed:
            weights = self._weights.to(numbers.device)
            return key.fold("component").categorical(weights, 1).squeeze(-1)
        counts = torch.tensor([len(listing or ()) for listing in self._listings], device=numbers.device)
        return torch.searchsorted(counts.cumsum(0), numbers)

    def sample(
        self, topics: MixedTopics, topic: Tensor, number: Tensor, length: int, key: Key
    ) -> tuple[Tensor, Tensor | None]:
        """Sample each sequence from its component: int64 tokens (B, length) and the mask of scored positions."""
        tokens = torch.zeros(len(topic), length, dtype=torch.int64, device=key.states.device)
        mask = None
        for index, rows in _grouped(topics.component[topic]):
            place = topics.place[topic[rows]]
            part = topics.parts[index]
            drawn, scored = self._sources[index].sample(part, place, number[rows], length, key[rows])
            tokens[rows] = self._vocabularies[index].to_global(drawn)
            if scored is not None:
                mask = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
                mask[rows] = scored
        return tokens, mask

    def alias(self, topics: MixedTopics, topic: Tensor, number: Tensor) -> Tensor:
        """Return the numbers, int64 (B,), whose sequences these addresses hold, by each component's own rule."""
        number = number.clone()
        for index, rows in _grouped(topics.component[topic]):
            rule = getattr(self._sources[index], "alias", None)
            if rule is not None:
                number[rows] = rule(topics.parts[index], topics.place[topic[rows]], number[rows])
        return number

    def oracle(self) -> "ComponentOracle":
        """Return the predictor that knows each sequence's component and topic."""
        oracles = [
            Translated(source.oracle(), words) for source, words in zip(self._sources, self._vocabularies, strict=True)
        ]
        return ComponentOracle(oracles)

    def mixture(self, topics: MixedTopics, weights: Tensor) -> MixturePredictor:
        """Return the predictor that knows these topics and their weights, float64 (K,)."""

        def parts() -> Iterator[tuple[float, Translated]]:
            for index, rows in _grouped(topics.component):
                own = topics.parts[index][topics.place[rows]]
                predictor = mixture_over(self._sources[index], own, weights[rows])
                yield float(weights[rows].sum()), Translated(predictor, self._vocabularies[index])

        return MixturePredictor(parts)

    def population(self) -> MixturePredictor | None:
        """Return the mixture of the components' populations; None if one has none."""
        known = [getattr(source, "population", None) for source in self._sources]
        predictors = [None if population is None else population() for population in known]
        if any(predictor is None for predictor in predictors):
            return None
        translated = [
            Translated(predictor, words) for predictor, words in zip(predictors, self._vocabularies, strict=True)
        ]
        return MixturePredictor(lambda: zip(self._weights.tolist(), translated, strict=True))

    def optimum(
        self, reference: Reference, topics: MixedTopics | None, weights: Tensor | None, length: int
    ) -> Exact | None:
        """Return the oracle's exact floor, the weighted mean of the components'; None for other references."""
        if reference != "oracle":
            return None
        parts: list[tuple[float, Exact | None]] = []
        if topics is None or weights is None:
            for source, weight in zip(self._sources, self._weights.tolist(), strict=True):
                parts.append((weight, _floor(source, None, None, length)))
        else:
            for index, rows in _grouped(topics.component):
                total = float(weights[rows].sum())
                own = topics.parts[index][topics.place[rows]]
                parts.append((total, _floor(self._sources[index], own, weights[rows] / total, length)))
        return _weighted(parts)


class ComponentOracle:
    """The predictor that knows each sequence's component and topic within it."""

    def __init__(self, oracles: Sequence[Translated]):
        self._oracles = oracles

    def log_prob(self, batch: Batch) -> Tensor:
        """Return ln Pr(x_l | x_<l, topic), float64 (B, T), nats; -inf at an impossible token, NaN after."""
        found = torch.zeros(batch.tokens.shape, dtype=torch.float64, device=batch.tokens.device)
        for index, rows, part in _parted(batch):
            found[rows] = self._oracles[index].log_prob(part)
        return found

    def distribution(self, batch: Batch) -> CategoricalDistribution | None:
        """Return Pr(. | x_<l, topic) at every position; None if a component has none."""
        found = None
        for index, rows, part in _parted(batch):
            distribution = self._oracles[index].distribution(part)
            if distribution is None:
                return None
            own = distribution.log_probs
            found = own.new_zeros(len(batch), *own.shape[1:]) if found is None else found
            found[rows] = own
        return None if found is None else CategoricalDistribution(found)


def _grouped(component: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Iterate over the components present, with the rows of each, int64."""
    for index in component.unique().tolist():
        yield index, (component == index).nonzero().squeeze(1)


def _parted(batch: Batch) -> Iterator[tuple[int, Tensor, Batch]]:
    """Iterate over the components present, with their rows and a batch of those with the component's own topics."""
    topics: MixedTopics = batch.topics
    for index, rows in _grouped(topics.component[batch.topic]):
        part = batch.replace(
            tokens=batch.tokens[rows],
            mask=batch.mask[rows],
            topics=topics.parts[index],
            topic=topics.place[batch.topic[rows]],
            number=batch.number[rows],
        )
        yield index, rows, part


def _floor(source: Any, topics: Any, weights: Tensor | None, length: int) -> Exact | None:
    """Return a component's exact oracle floor; None if it has none."""
    optimum = getattr(source, "optimum", None)
    return None if optimum is None else optimum("oracle", topics, weights, length)


def _weighted(parts: Sequence[tuple[float, Exact | None]]) -> Exact | None:
    """Return the weighted mean of exact expectations; None if one is unknown."""
    known = [(weight, part) for weight, part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return Exact(
        values=sum(weight * part.values for weight, part in known),  # type: ignore[arg-type]
        method=max((part.method for _, part in known), key=_METHODS.index),
        error=sum(weight * part.error for weight, part in known),  # type: ignore[arg-type]
    )
