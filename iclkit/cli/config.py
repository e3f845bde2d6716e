"""`iclkit config`: what can be written in a config."""

from __future__ import annotations

from pathlib import Path

import click

from iclkit.cli import table
from iclkit.cli.options import plugin_option


@click.group("config")
def command() -> None:
    """Print what can be written in a config."""


@command.command("example")
@plugin_option
def example(plugin_files: tuple[Path, ...]) -> None:
    """Print a valid config with every table and key, its default, its limits and what it means."""
    from iclkit import manual, plugins

    click.echo(manual.example(plugins.load(plugin_files).registry), nl=False)


@command.command("schema")
@plugin_option
def schema(plugin_files: tuple[Path, ...]) -> None:
    """Print the JSON schema of configs, for editors that complete and check TOML."""
    from iclkit import manual, plugins

    table.dump(manual.schema(plugins.load(plugin_files).registry))
