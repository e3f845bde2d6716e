"""The exact references of a cell: oracle, mixture over its K topics, population."""

from typing import Any

from attrs import frozen
from torch import Tensor

from iclkit.config import Config
from iclkit.data import TrainingSequences, listed_family
from iclkit.predictors import Memo, Predictor, mixture_over


@frozen(kw_only=True, eq=False)
class Law:
    """A reference on its own law, of which a source can tell the exact expectation.

    Parameters
    ----------
    name : the reference.
    asked : what `source.optimum` is asked for; a listed source's population is the mixture over all its topics.
    topics, weights : what defines the law; None for P_W of a drawn family.

    """

    name: str
    asked: str
    topics: Any
    weights: Tensor | None


class References:
    """The references as predictors; equal laws are one object, so they are computed once."""

    def __init__(self, config: Config, source: Any, training: TrainingSequences):
        self._known = training.family if config.data.topics != "fresh" else None
        self._listed = listed_family(config, source)
        self.predictors: dict[str, Predictor] = {}
        for name in config.source.facts.references:
            predictor = self._predictor(name, source)
            if predictor is not None:
                self.predictors[name] = predictor

    def _predictor(self, name: str, source: Any) -> Predictor | None:
        if name == "oracle":
            return source.oracle()
        if name == "mixture" and self._known is not None:
            return mixture_over(source, self._known.topics, self._known.weights)
        if name == "population" and self._listed is not None:
            if self._knows_all:
                return self.predictors["mixture"]
            return mixture_over(source, self._listed.topics, self._listed.weights)
        if name == "population":
            return getattr(source, "population", lambda: None)()
        return None

    @property
    def _knows_all(self) -> bool:
        """Whether the K topics are all there are."""
        if self._known is None or self._listed is None or "mixture" not in self.predictors:
            return False
        return len(self._known.weights) == len(self._listed.weights)

    def memos(self) -> dict[str, Memo]:
        """Return fresh memos, one per law."""
        memos = {id(predictor): Memo(predictor) for predictor in self.predictors.values()}
        return {name: memos[id(predictor)] for name, predictor in self.predictors.items()}

    def laws(self, split: str) -> tuple[Law, ...]:
        """Return the references whose own law a split is."""
        family = {"sequences": self._known, "topics": self._listed}.get(split)
        if family is not None:
            names = ["oracle", "mixture" if split == "sequences" else "population"]
            if self._knows_all:
                names = ["oracle", "mixture", "population"]
            asked = {"oracle": "oracle", "mixture": "mixture", "population": "mixture"}
            laws = [Law(name=name, asked=asked[name], topics=family.topics, weights=family.weights) for name in names]
        elif split == "topics":
            laws = [Law(name=name, asked=name, topics=None, weights=None) for name in ("oracle", "population")]
        else:
            laws = []
        return tuple(law for law in laws if law.name in self.predictors)
