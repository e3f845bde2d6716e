"""What components promise each other: shapes, dtypes, units, errors.

Positions are 1-based: position l predicts token x_l from x_1 .. x_{l-1}. A tensor with T entries along its
position axis holds l = 1 .. T. All losses and log-probabilities are natural logarithms, in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

from attrs import evolve, frozen

if TYPE_CHECKING:
    import numpy as np
    import torch
    import xarray as xr
    from torch import Tensor

    from iclkit.errors import TrainingDiverged
    from iclkit.keys import Key
    from iclkit.predictors import Distribution
    from iclkit.specs import Facts

Reference = Literal["oracle", "mixture", "population"]


class Topics(Protocol):
    """Some topics of a source: opaque but for their count, their numbers, slicing and device."""

    numbers: Tensor
    """int64 tensor (K,), the topics' numbers."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, index: slice | Tensor) -> Self:
        """Select by a slice or an int64 tensor."""
        ...


@frozen(kw_only=True, eq=False)
class Batch:
    """Some sequences with their topics, all of one length.

    Parameters
    ----------
    tokens : int64 tensor (B, T), or float64 tensor (B, T, D) for real tokens.
    mask : bool tensor (B, T), True where a position is scored.
    topics : the distinct topics these sequences come from.
    topic : int64 tensor (B,), the index into `topics` of each sequence's topic.
    number : int64 tensor (B,), the sequences' numbers within their topics.

    """

    tokens: Tensor
    mask: Tensor
    topics: Any
    topic: Tensor
    number: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def length(self) -> int:
        """T, the number of tokens of each sequence."""
        return self.tokens.shape[1]

    def replace(self, **changes: Any) -> Batch:
        """Return a batch with some parts replaced."""
        return evolve(self, **changes)


@runtime_checkable
class Predictor(Protocol):
    """Anything that predicts: a trained model, an exact reference, a naive baseline."""

    def log_prob(self, batch: Batch) -> Tensor:
        """Return the log-probability of each token given those before it, float64 tensor (B, T).

        For real tokens the log-density of the channels that are predicted, `Real.scored` of them.
        -inf where the predictor rules the token out; undefined (any value) after that.
        """
        ...

    def distribution(self, batch: Batch) -> Distribution | None:
        """Return the distributions of each token given those before it, or None where there is no closed form.

        A predictor of real tokens without one may have a method `mean(batch)` -> float64 (B, T, D) or None.
        """
        ...


@frozen(kw_only=True, eq=False)
class Exact:
    """An exact expectation, by position.

    Parameters
    ----------
    values : float64 array (T,), nats; NaN from the position on that could not be computed.
    method : closed-form, belief-enumeration, mixed-state-matrix or monte-carlo.
    error : float64 array (T,), a bound on the error, or the standard error of a monte-carlo value.

    """

    values: np.ndarray
    method: str
    error: np.ndarray


class Source(Protocol):
    """A distribution over topics and, for each topic, over sequences, which knows its own truth.

    Listed families are asked only for the numbers 1 .. n that their facts list; drawn families for any positive
    number below 2**62. Only `topics`, `sample` and `oracle` are required. Where `mixture` is missing the core
    merges `oracle` over the topics, exactly and one topic at a time; where the topics are listed the population
    is the mixture over all of them. A source that knows which token follows which has a method
    `bigrams(topics, length)`: the law of the first token, float64 (K, V), and of two neighbours, (K, V, V), averaged
    over positions 2 .. length; without it naive predictors are estimated from samples. A source of which some tokens
    tell the topic where they recur (names) has a method `recurring_tokens()` that returns their indices. A source some
    of whose addresses hold one and the same sequence has a method `alias(topics, topic, number)` -> int64 (B,): the
    numbers whose sequences these addresses hold. A source of real tokens that are Gaussian of mean 0 given the topic
    may have a method `spread(topics, length)` -> two float64 tensors (K,), bounds of trace and largest eigenvalue of
    the covariance of all scored numbers at l = 1 .. length, by topic; with topics None of every topic, (1,), or None
    where nothing holds for all. Certificates rest on it.

    Some metrics ask for more. `beliefs(batch)` -> float64 (B, T, S) is what one who knows the topic knows of the hidden
    state after x_1 .. x_l. `prompts(topics, shots, length, count, key, examples)` makes few-shot prompts: each `shots`
    examples of `length` tokens, a delimiter after each, and a test input. Its result has `batch()`, whose last tokens
    are the labels, `label`, int64 (n,), `possible`, bool (n,), False where there is no label, and may have `ceiling()`,
    int64 (n,), the best answers given how prompts are made. `leaky(topics, weights, leak)` is the mixture of topics
    whose hidden states go anywhere with a small probability.
    """

    def topics(self, numbers: Tensor, key: Key) -> Topics:
        """Make the topics of these numbers (int64 tensor (K,)); `key` has one state per topic."""
        ...

    def sample(
        self, topics: Topics, topic: Tensor, number: Tensor, length: int, key: Key
    ) -> tuple[Tensor, Tensor | None]:
        """Sample one sequence per entry of `topic` (index into topics, int64 (B,)) and `number` (int64 (B,)).

        `key` has one state per sequence. Returns tokens (B, length), or (B, length, D) for reals, and the mask of
        scored positions, bool (B, length), None for all. A longer sequence begins with the shorter one.
        """
        ...

    def oracle(self) -> Predictor:
        """Return the predictor that knows each sequence's topic."""
        ...

    def mixture(self, topics: Topics, weights: Tensor) -> Predictor | None:
        """Return the exact predictor that knows these topics and their weights, and infers which it is in.

        `weights` is a float64 tensor (K,) of any positive sum; the core asks for chunks of topics and merges them.
        """
        ...

    def population(self) -> Predictor | None:
        """Return the exact predictor that knows only P_W; None where there is none (drawn families)."""
        ...

    def optimum(self, reference: Reference, topics: Topics | None, weights: Tensor | None, length: int) -> Exact | None:
        """Return the exact expected loss of a reference on its own law at l = 1 .. length; None if unknown.

        `topics` and `weights` (summing to 1) define the law for mixture and for oracle; for population, and for
        oracle on fresh topics of a drawn family, they are None.
        """
        ...


@frozen(kw_only=True, eq=False)
class Snapshot:
    """A model at a moment of its training.

    Parameters
    ----------
    step : how many updates were made.
    tokens_seen : how many tokens were trained on, repeats counted.
    weights : the state dict, CPU tensors.
    history : what was recorded up to now; arrays whose first axis is that of "step" (int64 array (R,)), among
        them "loss", float32 array (R, T): the batch's mean loss by position before the update of that step.

    """

    step: int
    tokens_seen: int
    weights: Mapping[str, Tensor]
    history: Mapping[str, np.ndarray]


class TrainingData(Protocol):
    """The training sequences of a cell; nothing that is held out can be reached through it."""

    @property
    def count(self) -> int | None:
        """How many different sequences there are, K N; None if they have no end."""
        ...

    @property
    def weights(self) -> Tensor | None:
        """With what weights topics are drawn, float64 tensor (K,) that sums to 1; None if topics have no end."""
        ...

    def batch(self, step: int, size: int, rows: slice = slice(None)) -> Batch:
        """Return rows of the batch of a step (0-based); `size` is the global batch size."""
        ...

    def all(self, chunk: int) -> Iterator[Batch]:
        """Iterate over all sequences in chunks (finite data only)."""
        ...

    def subset(self, topics: int | None = None, sequences: int | None = None) -> TrainingData:
        """Return the data of the first topics and sequences only."""
        ...


class Job(Protocol):
    """All a trainer gets: a model, its data, and a place to save its state.

    `start` holds the weights to begin from (the prior's last), None for those the module has. `prior` is the data of
    the training that runs first, at this training's length, None without one. `key` is the stream of what a trainer
    itself draws, the same on every process: fold it by the step. `length` is T.
    """

    module: torch.nn.Module
    start: Mapping[str, Tensor] | None
    data: TrainingData
    prior: TrainingData | None
    key: Key
    length: int

    def loss(self, module: torch.nn.Module, batch: Batch) -> Tensor:
        """Return the loss of each token, float32 tensor (B, T), differentiable; 0 where the mask is False."""
        ...

    def restore(self) -> tuple[int, Mapping[str, Tensor]] | None:
        """Return the last saved (step, state), or None."""
        ...

    def save(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Save the state at a step, atomically, replacing the one before."""
        ...

    def seed(self, step: int) -> None:
        """Seed torch for what a module draws itself (dropout) in the update that follows `step` updates."""
        ...

    def progress(self, step: int, steps: int, loss: float) -> None:
        """Report progress; cheap, may be called at every step."""
        ...


class Trainer(Protocol):
    """Decides how to step."""

    def fit(self, job: Job) -> Iterator[Snapshot]:
        """Train, yielding snapshots in order, the last step's included.

        The core saves what is yielded. A trainer saves its own state with `job.save` after a yield, so that a
        killed training continues bit for bit. Raises TrainingDiverged where the loss is not finite.
        """
        ...


class Cohort(Protocol):
    """What a trainer gets for trainings that run as one tensor program: a job for each of its M members.

    The trainers are the members' own; their configs differ in fields marked `stackable` alone. The members' modules
    have one shape, their lengths and their batches' shapes agree.
    """

    jobs: Sequence[Job]
    trainers: Sequence[Any]

    def stack(self, members: Sequence[int]) -> torch.nn.Module:
        """Return a module that computes what these members' modules do, with their present weights.

        It maps inputs with a leading member axis, (M, B, T) or (M, B, T, D), to the outputs of each member. Its
        parameters have the names of a member's; each holds the members' one after another along its first axis.
        """
        ...

    def loss(self, module: torch.nn.Module, batches: Sequence[Batch]) -> Tensor:
        """Return the loss of each token of each member's batch, float32 tensor (M, B, T); see `Job.loss`."""
        ...


class CohortTrainer(Trainer, Protocol):
    """A trainer whose config has a field `stack`: where that is true, trainings of one shape run together."""

    def fit_together(self, cohort: Cohort) -> Iterator[tuple[int, Snapshot | TrainingDiverged]]:
        """Train the members of a cohort as one tensor program, a cohort of one too.

        Yields (member, Snapshot), each member's in order, and (member, TrainingDiverged) where a member's loss is not
        finite: that one is over, the others go on. A member's weights are the same bits in any cohort. Each state is
        saved with the member's own job; members may have been saved at different steps. An error ends all members.
        """
        ...


@frozen(kw_only=True, eq=False)
class ScoredBatch(Batch):
    """A batch of one split with everything that predicts it; what each computes is computed once.

    Parameters
    ----------
    split : train, sequences, topics, holdout-sequences or holdout-topics.
    references : the exact references by name, as Predictors.
    optimum : the name of the reference that is the optimum on this split; None if none exists.
    lawful : whether the optimum is the true law of the next token given the prefix (all splits but train).
    model : the model of the snapshot being measured; None in `score_references`.

    """

    split: str
    references: Mapping[str, Predictor]
    optimum: str | None
    lawful: bool
    model: Any = None


class Models(Protocol):
    """The models to measure, by the step of their snapshot."""

    steps: tuple[int, ...]
    """In order."""

    def __getitem__(self, step: int) -> Any:
        """Return the model of a snapshot as a Predictor, with its torch module as `module` where it has one.

        It holds until another step is asked for.
        """
        ...

    def with_weights(self, weights: Mapping[str, Tensor]) -> Any:
        """Return a model of its own with these weights, by name, as a Predictor; others stay as it was built.

        Raises NotApplicable where the models are no torch modules.
        """
        ...


@frozen(kw_only=True, eq=False)
class LogProbs:
    """What a predictor gives the sequences of a split, in order of topic.

    Parameters
    ----------
    values : float64 tensor (n, T), natural log-probability of each token; NaN where the mask is False.
    topic : int64 tensor (n,), the topics' numbers.
    number : int64 tensor (n,), the sequences' numbers; two rows of one topic and number are one sequence.

    """

    values: Tensor
    topic: Tensor
    number: Tensor


@frozen(kw_only=True, eq=False)
class PriorRun:
    """The training that ran first: its last weights, a state dict, and the data they were made from."""

    weights: Mapping[str, Tensor]
    data: TrainingData


@frozen(kw_only=True, eq=False)
class MeasuredCell:
    """What a metric may know: `begin` gets it before the pass, `finish` once the pass is over.

    Parameters
    ----------
    data : Dataset of what `score` and `score_references` gave, reduced, with standard errors; empty in `begin`.
    source, facts : the built source, and what it says of itself.
    splits : names of the splits, in order.
    references : for each split the names of its references.
    optimum : for each split the name of its optimum, or None.
    laws : for each split the references whose own law it is, each with `name`, and `asked`, `topics` and `weights`
        to give to `source.optimum`.
    length : T of the evaluation.
    steps : the snapshots' steps, in order.
    models : their models.
    key : a stream of the metric's own, one state.
    known : the K topics the training knows by number, with `topics` and `weights`; None where they have no end.
    fresh : called with a count, returns as many fresh topics with weights (all topics of a listed source).
    batches : called with the name of a split, iterates over its sequences, with references and without a model.
        Held-out splits are there for a metric that needs them, in `finish` alone.
    log_probs : called with the name of a split and a step, or the name of a reference, returns what that step's model,
        or that reference, gives its sequences; computed once for all metrics.
    history : the training's record; empty where the model was trained elsewhere.
    training : the training sequences; None where the model was trained elsewhere.
    trainer : the settings of the trainer; None where the model was trained elsewhere.
    prior : the training that ran first; None without one.
    declared : whether this metric's settings were on record before held-out data were first served.

    """

    data: xr.Dataset
    source: Any
    facts: Facts
    splits: tuple[str, ...]
    references: Mapping[str, tuple[str, ...]]
    optimum: Mapping[str, str | None]
    laws: Mapping[str, tuple[Any, ...]]
    length: int
    steps: tuple[int, ...]
    models: Models
    key: Key
    known: Any
    fresh: Callable[[int], Any]
    batches: Callable[[str], Iterator[ScoredBatch]]
    log_probs: Callable[[str, int | str], LogProbs]
    history: Mapping[str, np.ndarray]
    training: TrainingData | None
    trainer: Any
    prior: PriorRun | None
    declared: bool


class Metric(Protocol):
    """Measures. All methods are optional; a metric scores or finishes.

    Any of them may raise NotApplicable: the metric is left out of the cell and the reason stored. A metric whose
    variables have dims of its own has an attribute `coords`, {dim: sequence of labels}, once it has begun.
    """

    def begin(self, cell: MeasuredCell) -> None:
        """Get ready for a pass."""
        ...

    def score(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Return one value per sequence for a snapshot's model: {variable: float64 tensor (B, ...)}.

        NaN marks a value that is undefined; the core averages the others and their standard error in float64.
        """
        ...

    def score_references(self, batch: ScoredBatch) -> Mapping[str, Tensor]:
        """Like `score`, for variables without a step: called once per chunk, before any model."""
        ...

    def finish(self, cell: MeasuredCell) -> xr.Dataset:
        """Make what needs everything reduced, the models by step, or the training's record."""
        ...
