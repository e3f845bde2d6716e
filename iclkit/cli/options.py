"""The options of commands that read a config, and how they read it."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iclkit.errors import ConfigError, Problem, StoreError

if TYPE_CHECKING:
    from iclkit.plan import Plan
    from iclkit.plugins import Plugins

as_json = click.option("--json", "as_json", is_flag=True, default=False, help="Print JSON.")
plugin_option = click.option(
    "--plugin",
    "plugin_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE.py",
    help="A local plugin; may be given more than once.",
)


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command CONFIG, --set, --plugin and --out; it receives the plan and the plugins."""

    @click.argument("config", type=click.Path(path_type=Path))
    @assignment_options
    @functools.wraps(function)
    def command(
        config: Path, assignments: tuple[str, ...], plugin_files: tuple[Path, ...], out: Path | None, **rest: Any
    ) -> Any:
        plan, plugins = load_plan(config, assignments, plugin_files, out)
        return function(plan=plan, plugins=plugins, **rest)

    return command


def assignment_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --set, --plugin and --out."""
    function = click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="The run folder, instead of store.path or runs/<config's name>.",
    )(function)
    function = plugin_option(function)
    return click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a key, such as model.layers=4; may be given more than once.",
    )(function)


def load_plan(
    config: Path, assignments: Sequence[str], plugin_files: Sequence[Path], out: Path | None
) -> tuple[Plan, Plugins]:
    """Read a config file into a plan."""
    from iclkit import plan, plugins

    _refuse_no_file(config)
    found = plugins.load(plugin_files)
    try:
        return plan.load(config, None, found, assignments=assignments, out=out), found
    except OSError as error:
        raise ConfigError([Problem(str(config), f"cannot be read: {error.strerror}")]) from None


def load_run(
    run: Path, assignments: Sequence[str] = (), plugin_files: Sequence[Path] = (), out: Path | None = None
) -> tuple[Plan, Plugins]:
    """Read the plan of a run folder, as it was asked for, or of a config file."""
    from iclkit import files, plan, plugins

    if not run.exists() and run.suffix != ".toml":
        raise StoreError(f"there is no run folder at {run}; `iclkit run CONFIG` makes one")
    if not run.is_dir():
        return load_plan(run, assignments, plugin_files, out)
    text = run / "config.toml"
    if not text.is_file():
        raise StoreError(f"{run} holds no config.toml: give the run folder of an `iclkit run`, or a config file")
    asked = files.read_json(run / "run.json") or {}
    found = plugins.load([*map(Path, asked.get("plugins", ())), *plugin_files])
    made = plan.load(
        Path(asked.get("config", text)),
        None,
        found,
        assignments=(*asked.get("set", ()), *assignments),
        out=out or run,
        text=text.read_text(encoding="utf-8"),
    )
    return made, found


def _refuse_no_file(config: Path) -> None:
    """Say what is wrong with the path of a config."""
    from iclkit import files

    if config.is_dir():
        inside = sorted(path.name for path in config.glob("*.toml"))
        there = f"; in it: {', '.join(inside[:5])}" if inside else ""
        asked = files.read_json(config / "run.json")
        if asked:
            there = f" of a run; to continue it, give its config: {asked['config']}"
        raise ConfigError([Problem(str(config), f"is a folder; a config is a TOML file{there}")])
    if not config.exists():
        beside = [path.name for path in config.parent.glob("*.toml")]
        near = difflib.get_close_matches(config.name, beside, n=1)
        hint = (
            f' (did you mean "{config.with_name(near[0])}"?)'
            if near
            else "; `iclkit config example > first.toml` writes one to begin with"
        )
        raise ConfigError([Problem(str(config), f"there is no such file{hint}")])
