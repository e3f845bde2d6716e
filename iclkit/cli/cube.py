"""`iclkit cube`: look at a cube, check its form, compare two."""

import click

from iclkit.cli.cube_diff import diff
from iclkit.cli.cube_show import show
from iclkit.cli.cube_validate import validate


@click.group("cube")
def command() -> None:
    """Show, validate and compare cubes."""


for _command in (show, validate, diff):
    command.add_command(_command)
