"""Tables and JSON on standard output."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from iclkit.terminal import is_lively


def show(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """Print a table: fitted to a terminal, or one plain line per row, never cut, for whatever else reads it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    made = Table(
        box=box.SIMPLE_HEAD if terminal else None, title=title or None, title_justify="left", pad_edge=terminal
    )
    for place, name in enumerate(columns):
        made.add_column(name, overflow="fold", no_wrap=place == 0 or not terminal)
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    console = Console(
        width=None if terminal else 10_000,
        color_system="auto" if is_lively(sys.stdout) else None,
        markup=False,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(made)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def dump(value: Any) -> None:
    """Print a JSON value."""
    click.echo(json.dumps(value, indent=1))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
