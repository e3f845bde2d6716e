"""`iclkit check`: every mistake of a config at once, or the facts of a good one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from iclkit.cli.options import config_options

if TYPE_CHECKING:
    from iclkit.plan import Plan
    from iclkit.plugins import Plugins


@click.command("check")
@config_options
def command(plan: Plan, plugins: Plugins) -> None:
    """Find every mistake in a config: one line each, exit code 3."""
    click.echo(f"ok: {facts(plan)}")


def facts(plan: Plan) -> str:
    """Say in a line what a config asks for."""
    config = plan.cells[0].config
    dims = ", ".join(f"{name} {size}" for name, size in plan.dims.items())
    trainings = len(plan.trainings)
    return (
        f"{trainings} training{'s' * (trainings != 1)}, cells by {dims}; {config.source.kind}, {config.model.kind}, "
        f"{config.trainer.kind}; run folder {plan.folder}"
    )
