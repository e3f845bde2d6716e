"""`iclkit run`: train, measure, assemble, draw, and say what was learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from attrs import evolve

from iclkit.cli.options import config_options

if TYPE_CHECKING:
    from iclkit.engine import Result
    from iclkit.plan import Plan
    from iclkit.plugins import Plugins


@click.command("run")
@config_options
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Worker processes; one per core if absent.")
@click.option("--fail-fast", is_flag=True, default=False, help="Begin no further training after a failure.")
@click.option("--dry-run", is_flag=True, default=False, help="Say what would be done, and do nothing.")
def command(plan: Plan, plugins: Plugins, workers: int | None, fail_fast: bool, dry_run: bool) -> None:
    """Train and measure what is missing, assemble the cube, draw the figures.

    Running again continues; a finished run has nothing to do.
    """
    from iclkit import engine, terminal, world

    if workers is not None:
        plan = evolve(plan, workers=workers)
    if dry_run:
        _foretell(plan, plugins)
        return
    try:
        with terminal.reporter() as reporter, terminal.interruptible(reporter):
            result = engine.run(plan, plugins, fail_fast=fail_fast, reporter=reporter)
            leads = world.current().leads
    finally:
        world.leave()
    if leads:
        if not result.worked:
            click.echo("Nothing to do: everything is trained and measured.")
        tell(result)
    result.check()


def tell(result: Result) -> None:
    """Print where the cube and the figures are and what was learned."""
    click.echo(f"cube: {result.cube}")
    for figure in result.figures:
        click.echo(f"figure: {figure}")
    for sentence in result.sentences:
        click.echo(sentence)


def _foretell(plan: Plan, plugins: Plugins) -> None:
    from iclkit import engine
    from iclkit.cli import plan as plan_command

    plan_command.show(plan)
    wanted = [name for task in engine.missing_tasks(plan, plugins) for name, _ in task.trainings]
    click.echo(f"\n{len(wanted)} of {len(plan.trainings)} would be trained or measured. Nothing was done: a dry run.")
