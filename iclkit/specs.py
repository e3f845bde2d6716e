"""The frozen entries that component hooks yield, and the fields of component configs.

A spec says what a component is called, what it can be told (an attrs class whose fields are the TOML keys), and
where its code lives (`build`, an import string). Nothing heavy loads until `build` is used.
"""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs import field, frozen
from attrs.validators import and_, instance_of, matches_re, max_len, min_len

from iclkit.spaces import Space

_NAME = and_(instance_of(str), matches_re(r"[a-z0-9]+(-[a-z0-9]+)*"))
_SUMMARY = and_(instance_of(str), min_len(1), max_len(120))
_IMPORT = and_(instance_of(str), matches_re(r"[\w.]+:[\w.]+"))

Number = int | float


def option(
    doc: str,
    *,
    default: Any = attrs.NOTHING,
    at_least: Number | None = None,
    above: Number | None = None,
    at_most: Number | None = None,
    below: Number | None = None,
    stackable: bool = False,
    sample: Any = None,
) -> Any:
    """Declare one key of a component's config.

    Parameters
    ----------
    doc : one line for the reference, with the unit.
    default : used where the key is absent; required without one.
    at_least, above, at_most, below : limits, for numbers and for every number in a tuple.
    sample : a value to show where the default is to leave the key out.
    stackable : trainings that differ only in such fields may run as one tensor program (a cohort).

    """
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    metadata = {
        "doc": doc,
        "stackable": stackable,
        "sample": sample,
        "limits": {name: value for name, value in limits.items() if value is not None},
    }
    return field(default=default, metadata=metadata)


@frozen(kw_only=True)
class Listed:
    """A family of given topics 1 .. len(weights), such as four named coins; weights sum to 1."""

    weights: tuple[float, ...]


@frozen(kw_only=True)
class Drawn:
    """A family whose topics are independent draws from P_W, such as coins with a Beta prior."""


@frozen(kw_only=True)
class Facts:
    """What can be said of a source without building it.

    Parameters
    ----------
    space : what a token is.
    topics : the family's topics, listed or drawn.
    references : which exact references exist, of oracle, mixture and population.
    sequences_limit : how many sequences a topic has at most, for sources whose content is finite (text).
    length_limit : how long a sequence can be at most, tokens.
    stationary : whether the law of two neighbouring tokens is the same at every position.
    noise : the scale of a model's Gaussian where the model does not learn it (real tokens).

    """

    space: Space
    topics: Listed | Drawn
    references: tuple[str, ...] = ("oracle", "mixture", "population")
    sequences_limit: int | None = None
    length_limit: int | None = None
    stationary: bool = False
    noise: float = 1.0


@frozen(kw_only=True)
class Spec:
    """What every component has: a name, one line about it, its config class, its code, a revision.

    Parameters
    ----------
    name : lower-case words joined by hyphens; what `kind` says in a config.
    summary : one line.
    config : a frozen attrs class; its fields, made with `option`, are the TOML keys. It may have a method
        `problems()` that yields (key, message) for what single fields cannot know.
    build : import string "package.module:callable".
    revision : raised when the component's numbers or a default change, so that old results are noticed.
    default : used where a config names none of this kind (built-ins only).

    """

    name: str = field(validator=_NAME)
    summary: str = field(validator=_SUMMARY)
    config: type = field(validator=instance_of(type))
    build: str = field(validator=_IMPORT)
    revision: int = 1
    default: bool = False

    def load(self) -> Callable[..., Any]:
        """Import and return what `build` names."""
        return resolve(self.build)


@frozen(kw_only=True)
class SourceSpec(Spec):
    """A source. `build(config)` returns a `Source`; `facts(config)` is pure Python."""

    facts: Callable[[Any], Facts]


@frozen(kw_only=True)
class ModelSpec(Spec):
    """A model. `build(config, space, context)` returns a causal `torch.nn.Module`.

    Parameters
    ----------
    unlimited : whether, under this config, inputs longer than the training context are possible.
    stacked : import string of a builder of the model with a leading member axis, for cohorts: `stacked(config, space,
        context, members)` -> module, see `iclkit.protocols.Cohort`. Its inputs may be up to 31 longer than the context,
        where they only fill up memory. Without one, torch.func.vmap maps the model.
    grow : import string of `grow(small, large, operator)` -> weights, for prior initialisation across shapes.
    portable : import string of `portable(config)` -> config, for configs that name files: one that needs none of them
        and builds the same module but for its weights, which `iclkit export` writes.
    exports : import string of `exports(config, space, context, weights)` -> {path: bytes}, the files in which another
        library reads these weights, for `iclkit export`; it raises NotApplicable where there are none.

    """

    unlimited: Callable[[Any], bool] = lambda config: False
    stacked: str | None = None
    grow: str | None = None
    portable: str | None = None
    exports: str | None = None


@frozen(kw_only=True)
class TrainerSpec(Spec):
    """A trainer. `build(config)` returns a `Trainer`; `records(config)` names the columns of its history."""

    records: Callable[[Any], tuple[str, ...]] = lambda config: ()


@frozen(kw_only=True)
class Variable:
    """A variable that a metric makes: its dims in order, its unit and what it is."""

    name: str
    dims: tuple[str, ...]
    long_name: str
    units: str = "nat"


Role = Literal["measurement", "upper_bound", "lower_bound"]


@frozen(kw_only=True)
class MetricSpec(Spec):
    """A metric. `build(config)` returns a `Metric`.

    Parameters
    ----------
    variables : what it makes. Dims `step` and `split` are filled in by the core; a standard error `<name>_se` is
        added to every variable that the core averages over sequences.
    needs : what it cannot do without under this config, told before anything is trained: "holdout-topics",
        "holdout-sequences", "drawn-topics", "finite-data", "one-pass" (no sequence is trained on twice), "prior", or
        "record:NAME" for a column of the training's record.
    role : whether the numbers are measurements or bounds.
    applies : whether it has a meaning for a source of these facts; a default metric that has none is left out.
    sentence : import string of a function Dataset -> str | None, printed at the end of a run.
    forecast : import string of a function (config, facts, data, length) -> lines of text, printed by `iclkit plan`:
        what can be expected of it before anything is trained.

    """

    variables: tuple[Variable, ...]
    needs: Callable[[Any], tuple[str, ...]] = lambda config: ()
    role: Role = "measurement"
    applies: Callable[[Facts], bool] = lambda facts: True
    sentence: str | None = None
    forecast: str | None = None


@frozen(kw_only=True)
class ExecutorSpec(Spec):
    """An executor. `build(config, workers)` returns a `concurrent.futures.Executor`.

    `in_process` says that it runs calls in the process that submits them: used for a single worker, and in each
    rank of a distributed run.
    """

    in_process: bool = False


@frozen(kw_only=True)
class FigureSpec:
    """A figure. `draw` names a function Dataset -> matplotlib Figure; `needs` the variables it reads."""

    name: str = field(validator=_NAME)
    summary: str = field(validator=_SUMMARY)
    needs: tuple[str, ...]
    draw: str = field(validator=_IMPORT)


@frozen(kw_only=True)
class CheckSpec:
    """A check for `iclkit doctor`. `run` names a function () -> (ok, one line of text)."""

    name: str = field(validator=_NAME)
    summary: str = field(validator=_SUMMARY)
    run: str = field(validator=_IMPORT)


@frozen(kw_only=True)
class CommandSpec:
    """An extra command. `command` names a click command; the summary is shown without importing it."""

    name: str = field(validator=_NAME)
    summary: str = field(validator=_SUMMARY)
    command: str = field(validator=_IMPORT)


@frozen(kw_only=True)
class Component:
    """A chosen component: a spec with its config, as it stands in a config file.

    Parameters
    ----------
    spec : what was chosen.
    config : an instance of `spec.config`.
    name : how its results are called; the kind unless the config says otherwise.
    origin : digest of the plugin file it came from, for `--plugin FILE.py`; None for installed plugins.

    """

    spec: Any
    config: Any
    name: str
    origin: str | None = None

    @property
    def kind(self) -> str:
        """The name of the spec."""
        return self.spec.name

    @property
    def facts(self) -> Facts:
        """What the source can say without being built (sources only)."""
        return self.spec.facts(self.config)

    def build(self, *args: Any) -> Any:
        """Import the code and build the component."""
        return self.spec.load()(self.config, *args)

    @property
    def held_out(self) -> tuple[str, ...]:
        """The held-out splits that it reads (metrics only)."""
        return tuple(need for need in self.spec.needs(self.config) if need.startswith("holdout-"))

    @property
    def reason_variable(self) -> str:
        """The variable that tells why a metric does not apply to a cell."""
        return f"{self.name}_not_applicable".replace("-", "_")

    def variable(self, name: str) -> str:
        """Return a metric's variable as the cube calls it: with the metric's name in front where it was renamed."""
        return name if self.name == self.kind else f"{self.name}_{name}".replace("-", "_")


def resolve(reference: str) -> Any:
    """Import "module:attribute"."""
    module, _, attribute = reference.partition(":")
    value: Any = importlib.import_module(module)
    for part in attribute.split("."):
        value = getattr(value, part)
    return value


Table = Mapping[str, Any]  # a config field of this type is a table whose keys only the component knows
ConfigPath = Path  # a config field of this type is relative to the config file and hashed by content
