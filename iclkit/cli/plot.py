"""`iclkit plot`: draw the figures of a run, or those that are named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from iclkit.cli.options import load_run, plugin_option
from iclkit.errors import IclkitError, PluginError, UsageError

if TYPE_CHECKING:
    from xarray import Dataset

    from iclkit.registry import Registry


@click.command("plot")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--format", "suffix", type=click.Choice(["png", "pdf", "svg"]), default="png", show_default=True, help="File type."
)
@plugin_option
def command(run: Path, names: tuple[str, ...], suffix: str, plugin_files: tuple[Path, ...]) -> None:
    """Draw the figures of a run folder (all, or those named) from its cube into its folder `figures`."""
    from iclkit import cube, findings

    plan, plugins = load_run(run, plugin_files=plugin_files)
    _refuse_unknown(names, plugins.registry)
    data = cube.open_cube(plan.folder).load()
    wanted = names or _possible(plugins.registry, data)
    for name in names:
        _refuse_impossible(name, plugins.registry, data)
    drawn = findings.draw_figures(data, plugins, plan.folder / "figures", names=wanted, suffix=suffix) if wanted else ()
    for path in drawn:
        click.echo(str(path))
    missing = [name for name in names if name not in {path.stem for path in drawn}]
    if missing:
        told = ", ".join(f"{name} ({plugins.registry.get('figure', name).spec.summary})" for name in missing)
        raise IclkitError(f"not drawn, for nothing of it was measured in this run: {told}")
    if not drawn:
        click.echo("No figure can be drawn from this cube; `iclkit plugins list` shows the figures.", err=True)


def _refuse_unknown(names: tuple[str, ...], registry: Registry) -> None:
    for name in names:
        try:
            registry.get("figure", name)
        except KeyError as unknown:
            kind = PluginError if registry.quarantined else UsageError
            raise kind(unknown.args[0]) from None


def _refuse_impossible(name: str, registry: Registry, data: Dataset) -> None:
    absent = set(registry.get("figure", name).spec.needs) - set(map(str, data.variables))
    if absent:
        raise UsageError(f"figure {name} needs {', '.join(sorted(absent))}, which this cube has not")


def _possible(registry: Registry, data: Dataset) -> tuple[str, ...]:
    return tuple(entry.spec.name for entry in registry.all("figure") if set(entry.spec.needs) <= set(data.variables))
