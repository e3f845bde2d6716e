"""`iclkit train`: one training with its passes, in this process, for job arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import evolve

from iclkit.cli.options import assignment_options, load_plan
from iclkit.errors import RunFailures, StoreError

if TYPE_CHECKING:
    from iclkit.engine import Task
    from iclkit.plan import Plan, Training


@click.command("train")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("training_id", metavar="ID")
@assignment_options
def command(
    config: Path, training_id: str, assignments: tuple[str, ...], plugin_files: tuple[Path, ...], out: Path | None
) -> None:
    """Do one training and its measurement, for job arrays.

    ID, or the beginning of it, is one that `iclkit plan CONFIG` lists. Any number of these may run at once in one
    run folder; `iclkit assemble CONFIG` gathers what they leave.
    """
    plan, plugins = load_plan(config, assignments, plugin_files, out)
    training = plan.training(training_id)
    from iclkit import engine, terminal
    from iclkit.snapshots import TrainingFolder

    task = next(filter(None, (_only(task, training, plan) for task in engine.missing_tasks(plan, plugins))), None)
    if task is None:
        click.echo(f"Nothing to do: {training.id} is trained and measured.")
        return
    for prior in sorted(task.after):
        if not TrainingFolder(plan.folder / "trainings" / prior).done:
            raise StoreError(
                f"{training.id} starts from the weights of {prior}: run `iclkit train {config} {prior}` first"
            )
    with terminal.reporter() as reporter, terminal.interruptible(reporter):
        reporter.begin(plan, [training])
        outcome = engine.work(task)[training.id]
        reporter.ended(training, outcome)
    if outcome["status"] == "failed":
        raise RunFailures(f"training {training.id} failed: {outcome['error']}")
    click.echo(f"{training.id} is trained and measured; `iclkit assemble {config}` gathers it into the cube.")


def _only(task: Task, training: Training, plan: Plan) -> Task | None:
    """Return the part of a task that is about one training; None if there is none."""
    trainings = tuple(one for one in task.trainings if one[0] == training.id)
    passes = {wanted.id for wanted in plan.passes_of(training)}
    if not trainings:
        return None
    return evolve(
        task,
        trainings=trainings,
        passes=tuple(one for one in task.passes if one[0] in passes),
        after=frozenset({training.prior.id} if training.prior else ()),
    )
