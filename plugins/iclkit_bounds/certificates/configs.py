"""The settings of the certificates. Light."""

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from iclkit.api import option

Targets = tuple[Literal["sequences", "topics"], ...]


def _targets() -> Targets:
    return option(
        "what is certified: the loss on fresh sequences of the training topics, or on fresh topics",
        default=("sequences", "topics"),
    )


def _delta() -> float:
    return option("probability with which each statement may fail", default=0.05, above=0.0, below=1.0)


def _smoothing() -> float:
    return option(
        "weight of the uniform predictor that the model is mixed with, sequence by sequence, to bound its losses",
        default=0.1,
        above=0.0,
        below=1.0,
    )


def _token_smoothing() -> float:
    return option(
        "weight of the uniform predictor that every token's probabilities are mixed with",
        default=0.01,
        above=0.0,
        below=1.0,
    )


def target_problems(targets: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a list of targets."""
    if not targets or len(set(targets)) != len(targets):
        yield "targets", 'must name one or two different targets; allowed: "sequences", "topics"'


@frozen(kw_only=True)
class HoldoutConfig:
    """A certificate from held-out units."""

    targets: Targets = _targets()
    delta: float = _delta()
    smoothing: float = _smoothing()
    blocks: int = option(
        "blocks of positions with a certificate each, at a share of delta; 0 for none", default=8, at_least=0
    )
    fixed_scale: float | None = option(
        "real tokens: standard deviation of the fixed i.i.d. Gaussian that is mixed in, instead of the uniform "
        "predictor; the root of the source's mean square if absent",
        default=None,
        above=0.0,
    )
    clip: float | None = option(
        "real tokens: the loss in nats per token where losses are clipped, chosen before looking; the best for the "
        "source and the number of units if absent",
        default=None,
    )
    contamination: float = option(
        "largest total variation distance of a held-out unit's law from the true one; corrects the bound if above 0",
        default=0.0,
        at_least=0.0,
        below=1.0,
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        yield from target_problems(self.targets)


@frozen(kw_only=True)
class PrequentialConfig:
    """A certificate from data that were scored before they were trained on."""

    delta: float = _delta()
    smoothing: float = _smoothing()
    share: float = option(
        "last part of the training whose snapshots are certified, as a mixture", default=0.5, above=0.0, at_most=1.0
    )
    sequences: int = option("sequences scored, spread over those stages", default=4096, at_least=1)
    least_loss: float = option("a guess, made beforehand, of the smallest mean loss, nats", default=0.0, at_least=0.0)


@frozen(kw_only=True)
class LangevinPathConfig:
    """A certificate from the exact likelihood ratio of a noisy training's path."""

    targets: Targets = _targets()
    delta: float = _delta()
    smoothing: float = _smoothing()
    compare: bool = option("compare with the plain held-out bound, which needs held-out data", default=False)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        yield from target_problems(self.targets)


@frozen(kw_only=True)
class PacBayesConfig:
    """Certificates of weights drawn around a prior that was trained on other data."""

    targets: Targets = _targets()
    delta: float = _delta()
    smoothing: float = _smoothing()
    noise: float = option("standard deviation of the draw, on every weight", default=0.003, above=0.0)
    pulls: tuple[float, ...] = option(
        "how far from the prior's weights (0) to the trained ones (1) draws are centred; each has a share of delta",
        default=(0.0, 0.1),
        at_least=0.0,
        at_most=1.0,
    )
    draws: int = option("draws for the bounds on the average over draws", default=256, at_least=2)
    passes: int = option(
        "forward passes over the units that those draws share, each on a random part", default=8, at_least=1
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        yield from target_problems(self.targets)
        if not self.pulls or len(set(self.pulls)) != len(self.pulls):
            yield "pulls", "needs one or more different numbers between 0 and 1"


@frozen(kw_only=True)
class CompressionConfig:
    """A certificate from the length of a code that writes the weights."""

    targets: Targets = option("what is certified", default=("sequences",))
    delta: float = _delta()
    smoothing: float = _smoothing()
    bits: tuple[int, ...] = option(
        "bits of a weight on its grid; each has a share of delta", default=(4, 8), at_least=1, at_most=16
    )
    sequences: int = option(
        "training sequences that are evaluated at most; of more, so many are drawn", default=32768, at_least=2
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        yield from target_problems(self.targets)
        if not self.bits or len(set(self.bits)) != len(self.bits):
            yield "bits", "needs one or more different numbers from 1 to 16"


@frozen(kw_only=True)
class TokenConfig:
    """A bound on the loss over the training prefixes, beside its exact value."""

    delta: float = _delta()
    smoothing: float = _token_smoothing()
    bits: int = option(
        "bits of a weight in the code that pays for the choice of the network", default=8, at_least=1, at_most=16
    )
    sequences: int = option("training sequences it is computed on", default=1024, at_least=1)


@frozen(kw_only=True)
class PaperConfig:
    """The second paper's Theorems 4.3 (sequences) and 4.6 (topics)."""

    targets: Targets = _targets()
    mode: Literal["paper", "strict"] = option(
        "as they are written, with a constant to be declared and no validity, or with every constant and proof",
        default="paper",
    )
    constant: float = option("the constant hidden in O(.), for mode paper", default=1.0, above=0.0)
    noise: float = option("standard deviation of prior and posterior around their weights", default=0.003, above=0.0)
    delta: float = _delta()
    smoothing: float = _token_smoothing()
    draws: int = option("draws from the posterior, for mode strict", default=256, at_least=2)
    passes: int = option("forward passes over the units that the draws share", default=8, at_least=1)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        yield from target_problems(self.targets)


@frozen(kw_only=True)
class LowerConfig:
    """Lower limits: what no model can beat."""

    delta: float = _delta()
    parameters: int | None = option(
        "k, free parameters of a topic, for the asymptotic price of inferring it; V (V-1) if absent",
        default=None,
        at_least=1,
    )


@frozen(kw_only=True)
class OptimisationConfig:
    """The optimisation error from both sides."""

    delta: float = _delta()
    bits: tuple[int, ...] = option(
        "bits of a weight; 32 covers every network of the architecture; each has a share of delta",
        default=(32, 16),
        at_least=1,
        at_most=32,
    )
    sequences: int = option("training sequences that losses are averaged over, at most", default=2048, at_least=1)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what single fields cannot know."""
        if not self.bits or len(set(self.bits)) != len(self.bits):
            yield "bits", "needs one or more different numbers from 1 to 32"
