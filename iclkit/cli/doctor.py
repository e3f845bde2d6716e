"""`iclkit doctor`: a block to paste into a bug report, and the plugins' checks."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iclkit.cli import table
from iclkit.cli.options import as_json

if TYPE_CHECKING:
    from iclkit.registry import Registry

_PACKAGES = (
    "torch",
    "numpy",
    "xarray",
    "zarr",
    "accelerate",
    "safetensors",
    "matplotlib",
    "attrs",
    "cattrs",
    "click",
    "pluggy",
    "rich",
)


@click.command("doctor")
@as_json
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Describe this installation, its plugins and their checks. A failing check is exit code 1."""
    from iclkit import plugins
    from iclkit.cli.plugins import tell_troubles, troubles

    registry = plugins.load().registry
    told = {
        "versions": versions(),
        "machine": machine(),
        "plugins": _plugins(registry),
        **troubles(registry),
        "checks": _checks(registry),
    }
    if as_json:
        table.dump(told)
    else:
        for name, value in {**told["versions"], **told["machine"]}.items():
            click.echo(f"{name + ' ':.<20} {value}")
        click.echo(f"{'plugins ':.<20} {', '.join(told['plugins'])}")
        tell_troubles(told)
        for check in told["checks"]:
            click.echo(f"{'ok' if check['ok'] else 'FAILED'}: {check['name']}: {check['text']}")
        count = len(told["broken"])
        click.echo(
            "no plugin is broken"
            if not count
            else f"{count} broken plugin{'s' * (count > 1)}: `iclkit plugins show NAME` prints the traceback"
        )
    if not all(check["ok"] for check in told["checks"]):
        ctx.exit(1)


def versions() -> dict[str, str | None]:
    """Return the versions of iclkit, Python and what iclkit stands on, importing none of it."""
    from iclkit import __version__

    found: dict[str, str | None] = {"iclkit": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def machine() -> dict[str, Any]:
    """Return what matters of this machine."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "platform": platform.platform(),
        "executable": sys.executable,
        "cpus": usable,
        "folder": str(Path.cwd()),
        "disk_free_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
    }


def _plugins(registry: Registry) -> list[str]:
    return sorted({str(entry.provider) for entry in registry.entries.values()})


def _checks(registry: Registry) -> list[dict[str, Any]]:
    from iclkit.specs import resolve

    made = []
    for entry in registry.all("check"):
        try:
            ok, text = resolve(entry.spec.run)()
        except Exception as error:  # a check that breaks has failed
            ok, text = False, f"{type(error).__name__}: {error}"
        made.append({"name": entry.spec.name, "summary": entry.spec.summary, "ok": bool(ok), "text": str(text)})
    return made
