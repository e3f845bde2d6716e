"""The hooks of iclkit. This file is the plugin manual.

A plugin is a light module of hook implementations, named by an entry point of the group `iclkit`, or a local file
given with `--plugin FILE.py`. It imports `iclkit.api`, attrs and the standard library at its top, nothing heavy:
what a component needs to run is imported when its `build` string is used.

Component hooks take no argument and yield frozen specs. Observer hooks are told what happens; what they raise is
logged and never stops a run. Every example below is complete: it runs as it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from iclkit.specs import (
        CheckSpec,
        CommandSpec,
        ExecutorSpec,
        FigureSpec,
        MetricSpec,
        ModelSpec,
        SourceSpec,
        TrainerSpec,
    )

hookspec = pluggy.HookspecMarker("iclkit")
hookimpl = pluggy.HookimplMarker("iclkit")


# ---------------------------------------------------------------- components


@hookspec
def iclkit_sources() -> Iterable[SourceSpec]:
    """Yield sources: distributions over topics and sequences that know their own truth.

    Example::

        from attrs import frozen
        from iclkit.api import Categorical, Facts, Listed, SourceSpec, hookimpl, option

        @frozen(kw_only=True)
        class Die:
            sides: int = option("number of sides", default=6, at_least=2)

        @hookimpl
        def iclkit_sources():
            yield SourceSpec(
                name="fair-die",
                summary="A fair die: nothing to learn in context.",
                config=Die,
                build="acme_die:FairDie",
                facts=lambda config: Facts(space=Categorical(config.sides), topics=Listed(weights=(1.0,))),
            )
    """
    return ()


@hookspec
def iclkit_models() -> Iterable[ModelSpec]:
    """Yield models: causal torch modules that predict the token after each input.

    Example::

        from attrs import frozen
        from iclkit.api import ModelSpec, hookimpl, option

        @frozen(kw_only=True)
        class Gru:
            width: int = option("hidden units", default=64, at_least=1)

        @hookimpl
        def iclkit_models():
            yield ModelSpec(
                name="acme-gru",
                summary="One gated recurrent layer.",
                config=Gru,
                build="acme_gru:build",
                unlimited=lambda config: True,
            )
    """
    return ()


@hookspec
def iclkit_trainers() -> Iterable[TrainerSpec]:
    """Yield trainers: they decide how to step, never on what.

    Example::

        from attrs import frozen
        from iclkit.api import TrainerSpec, hookimpl, option

        @frozen(kw_only=True)
        class Plain:
            steps: int = option("updates", default=100, at_least=0)

        @hookimpl
        def iclkit_trainers():
            yield TrainerSpec(name="plain-sgd", summary="Plain SGD.", config=Plain, build="acme_sgd:Sgd")
    """
    return ()


@hookspec
def iclkit_metrics() -> Iterable[MetricSpec]:
    """Yield metrics: what is measured in the one pass over the evaluation data.

    Example::

        from attrs import frozen
        from iclkit.api import MetricSpec, Variable, hookimpl

        @frozen(kw_only=True)
        class NoSettings:
            pass

        @hookimpl
        def iclkit_metrics():
            yield MetricSpec(
                name="surprise",
                summary="The largest loss of a sequence.",
                config=NoSettings,
                build="acme_surprise:Surprise",
                variables=(
                    Variable(name="surprise", dims=("step", "split"), long_name="largest loss of a sequence"),
                ),
            )
    """
    return ()


@hookspec
def iclkit_executors() -> Iterable[ExecutorSpec]:
    """Yield executors: factories of `concurrent.futures.Executor`.

    Example::

        from attrs import frozen
        from iclkit.api import ExecutorSpec, hookimpl

        @frozen(kw_only=True)
        class Threads:
            pass

        @hookimpl
        def iclkit_executors():
            yield ExecutorSpec(
                name="threads", summary="One thread per worker.", config=Threads, build="acme_threads:make"
            )
    """
    return ()


@hookspec
def iclkit_figures() -> Iterable[FigureSpec]:
    """Yield figures: functions from a cube's Dataset to a matplotlib Figure.

    Example::

        from iclkit.api import FigureSpec, hookimpl

        @hookimpl
        def iclkit_figures():
            yield FigureSpec(
                name="loss-map", summary="Loss by position and step.", needs=("loss",), draw="acme_plots:loss_map"
            )
    """
    return ()


@hookspec
def iclkit_checks() -> Iterable[CheckSpec]:
    """Yield checks for `iclkit doctor`: functions () -> (ok, one line of text).

    Example::

        from iclkit.api import CheckSpec, hookimpl

        @hookimpl
        def iclkit_checks():
            yield CheckSpec(name="disk", summary="Is there room for a run?", run="acme_checks:disk")
    """
    return ()


@hookspec
def iclkit_commands() -> Iterable[CommandSpec]:
    """Yield extra commands of the command line; the summary is shown without importing the command.

    Example::

        from iclkit.api import CommandSpec, hookimpl

        @hookimpl
        def iclkit_commands():
            yield CommandSpec(name="upload", summary="Send a cube somewhere.", command="acme_upload:command")
    """
    return ()


# ---------------------------------------------------------------- observers


@hookspec
def iclkit_run_started(plan: Any) -> None:
    """Hear that a run begins, in the main process.

    Parameters
    ----------
    plan : the `iclkit.plan.Plan`, with its trainings and cells.

    Example::

        from iclkit.api import hookimpl

        @hookimpl
        def iclkit_run_started(plan):
            print(len(plan.trainings), "trainings")

    """


@hookspec
def iclkit_training_started(training: Any) -> None:
    """Hear that a training begins, in the process that runs it.

    Parameters
    ----------
    training : the `iclkit.plan.Training`, with its id and config.

    Example::

        from iclkit.api import hookimpl

        @hookimpl
        def iclkit_training_started(training):
            print("begins:", training.id)

    """


@hookspec
def iclkit_snapshot(training: Any, step: int, history: Mapping[str, Any]) -> None:
    """Hear that a snapshot was saved, in the process that trains.

    Parameters
    ----------
    training : the `iclkit.plan.Training`.
    step : updates made so far.
    history : arrays recorded so far; "loss" is (records, positions), nats.

    Example::

        from iclkit.api import hookimpl

        @hookimpl
        def iclkit_snapshot(training, step, history):
            print(training.id, step, sorted(history))

    """


@hookspec
def iclkit_training_finished(training: Any, outcome: Mapping[str, Any]) -> None:
    """Hear that a training ended, in the process that ran it.

    Parameters
    ----------
    training : the `iclkit.plan.Training`.
    outcome : `status` ("done" or "failed"), `wall_time` in seconds, and `error` with the traceback if it failed.

    Example::

        from iclkit.api import hookimpl

        @hookimpl
        def iclkit_training_finished(training, outcome):
            print(training.id, outcome["status"])

    """


@hookspec
def iclkit_run_finished(plan: Any, cube_path: Path) -> None:
    """Hear that a run ended and its cube was assembled, in the main process.

    Parameters
    ----------
    plan : the `iclkit.plan.Plan`.
    cube_path : folder of the zarr cube.

    Example::

        from iclkit.api import hookimpl

        @hookimpl
        def iclkit_run_finished(plan, cube_path):
            print("cube at", cube_path)

    """
