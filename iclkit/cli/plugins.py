"""`iclkit plugins`: who provides what, and what is broken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iclkit.cli import COMMANDS, table
from iclkit.cli.options import as_json, plugin_option
from iclkit.errors import PluginError, UsageError

if TYPE_CHECKING:
    from iclkit.registry import Registry


@click.group("plugins")
def command() -> None:
    """List who provides what."""


@command.command("list")
@plugin_option
@as_json
def list_(plugin_files: tuple[Path, ...], as_json: bool) -> None:
    """List every component with who provides it, and every plugin that is broken."""
    from iclkit import plugins

    registry = plugins.load(plugin_files).registry
    told = {"components": _components(registry), **troubles(registry)}
    if as_json:
        table.dump(told)
        return
    columns = ("kind", "name", "summary", "plugin", "distribution")
    table.show(columns, [[one[name] for name in columns] for one in told["components"]])
    tell_troubles(told)


@command.command("show")
@click.argument("name")
@plugin_option
@as_json
def show(name: str, plugin_files: tuple[Path, ...], as_json: bool) -> None:
    """Show a component by its name with its keys, or all that a plugin provides, or why it is broken."""
    from iclkit import manual, plugins
    from iclkit.registry import KINDS

    registry = plugins.load(plugin_files).registry
    entries = [(kind, entry) for kind in KINDS for entry in registry.all(kind) if entry.spec.name == name]
    provided = [one for one in _components(registry) if one["plugin"] == name]
    broken = [one for one in registry.quarantined if one.provider.plugin == name]
    for claimed in (claimed for claimed in registry.conflicts if claimed[1] == name and not entries):
        registry.get(*claimed)  # says who claims it
    if as_json:
        components = [{**_component(kind, entry), "keys": manual.keys(entry.spec)} for kind, entry in entries]
        table.dump({"components": components, "provides": provided, "broken": [_broken(one) for one in broken]})
    for kind, entry in [] if as_json else entries:
        click.echo(f"{kind} {name}: {entry.spec.summary}")
        click.echo(f"provided by {entry.provider}\n")
        if rows := manual.keys(entry.spec):
            columns = ("key", "type", "default", "limits", "doc")
            table.show(columns, [[row[column] for column in columns] for row in rows])
    if provided and not as_json:
        table.show(("kind", "name", "summary"), [(one["kind"], one["name"], one["summary"]) for one in provided])
    for one in broken:
        if not as_json:
            click.echo(f"plugin {one.provider} is broken:\n{one.traceback}")
    if not (entries or provided or broken):
        names = sorted({one["name"] for one in _components(registry)})
        raise UsageError(_unknown(name, names, registry))
    if broken:
        raise PluginError(f"plugin {broken[0].provider} is broken: {broken[0].error}")


def troubles(registry: Registry) -> dict[str, Any]:
    """Return what is broken or claimed twice, as a JSON value."""
    claims = [
        {
            "kind": kind,
            "name": name,
            "claimed_by": [str(claimant) for claimant in claimants],
            "used": _used(registry, kind, name),
        }
        for (kind, name), claimants in registry.conflicts.items()
    ]
    hidden = [
        {"kind": "command", "name": entry.spec.name, "claimed_by": [str(entry.provider)], "used": "iclkit itself"}
        for entry in registry.all("command")
        if entry.spec.name in COMMANDS
    ]
    return {"broken": [_broken(one) for one in registry.quarantined], "conflicts": claims + hidden}


def tell_troubles(told: dict[str, Any]) -> None:
    """Print what is broken or claimed twice, one line each."""
    for one in told["broken"]:
        click.echo(f"broken: {one['plugin']} ({one['distribution']}): {one['error']}")
    for one in told["conflicts"]:
        click.echo(
            f'conflict: {one["kind"]} "{one["name"]}" is claimed by {" and ".join(one["claimed_by"])}; '
            f"used: {one['used'] or 'none of them'}"
        )


def _components(registry: Registry) -> list[dict[str, Any]]:
    from iclkit.registry import KINDS

    return [_component(kind, entry) for kind in KINDS for entry in registry.all(kind)]


def _component(kind: str, entry: Any) -> dict[str, Any]:
    provider = entry.provider
    return {
        "kind": kind,
        "name": entry.spec.name,
        "summary": entry.spec.summary,
        "plugin": provider.plugin,
        "distribution": provider.distribution,
        "builtin": provider.builtin,
    }


def _broken(one: Any) -> dict[str, str]:
    return {"plugin": one.provider.plugin, "distribution": one.provider.distribution, "error": one.error}


def _used(registry: Registry, kind: str, name: str) -> str | None:
    entry = registry.entries.get((kind, name))
    return str(entry.provider) if entry else None


def _unknown(name: str, names: list[str], registry: Registry) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, n=1)
    hint = f'did you mean "{near[0]}"?' if near else "`iclkit plugins list` shows what there is"
    return f'no component or plugin is called "{name}" ({hint})'
