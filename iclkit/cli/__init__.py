"""The command line. A command's module is imported when it is run; its summary is data, so `--help` imports none."""

from __future__ import annotations

import difflib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from iclkit import world
from iclkit.errors import ConfigError, IclkitError, PluginError

if TYPE_CHECKING:
    from iclkit.registry import Registry

COMMANDS = {
    "run": "Train and measure what is missing, leave a cube and figures.",
    "plan": "Show what a config asks for: trainings, cells, dimensions.",
    "check": "Find every mistake in a config.",
    "explain": "Tell what theory predicts, before anything is trained.",
    "train": "Do one training and its measurement, for job arrays.",
    "assemble": "Gather what is measured into the cube.",
    "cube": "Show, validate and compare cubes.",
    "plot": "Draw the figures of a run.",
    "export": "Write trained models and activations for other tools.",
    "plugins": "List who provides what.",
    "config": "Print what can be written in a config.",
    "doctor": "Describe this installation and check it.",
}
INTERRUPTED = 130

_logger = logging.getLogger("iclkit")


class Commands(click.Group):
    """The built-in commands and those of plugins, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, the built-in ones in the order of a first use."""
        return [*COMMANDS, *_plugin_commands(_registry())]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command; None if there is no such name."""
        from iclkit.specs import resolve

        if name in COMMANDS:
            return _with_verbose(resolve(f"iclkit.cli.{name}:command"))
        registry = _registry()
        if name not in _plugin_commands(registry):
            return None
        entry = registry.get("command", name)
        try:
            return resolve(entry.spec.command)
        except Exception as error:
            raise PluginError(
                f'command "{name}" of plugin {entry.provider} cannot be imported: {type(error).__name__}: {error}'
            ) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the arguments; an unknown name is answered with the nearest, or what may provide it."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is not None:
            return name, command, args[1:]
        if name.startswith("-"):
            ctx.fail(f"there is no option {name} here")
        registry = _registry()
        names = [*COMMANDS, *_plugin_commands(registry)]
        near = difflib.get_close_matches(name, names, n=1)
        if near:
            ctx.fail(f'no command is called "{name}" (did you mean "{near[0]}"?)')
        if ("command", name) in registry.conflicts or registry.quarantined:
            try:
                registry.get("command", name)
            except KeyError as unknown:
                raise PluginError(unknown.args[0]) from None
        return ctx.fail(f'no command is called "{name}"; there are: {", ".join(names)}')

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names and summaries, importing no command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        registry = _registry()
        if extra := _plugin_commands(registry):
            with formatter.section("Commands of plugins"):
                formatter.write_dl(list(extra.items()))
        if registry.quarantined:
            broken = ", ".join(quarantined.provider.plugin for quarantined in registry.quarantined)
            formatter.write_paragraph()
            formatter.write_text(f"Broken plugins: {broken} (see `iclkit plugins list`).")


def _registry() -> Registry:
    from iclkit import plugins

    return plugins.load().registry


def _plugin_commands(registry: Registry) -> dict[str, str]:
    """Return plugins' commands, name -> summary; a built-in name stays the built-in's."""
    return {entry.spec.name: entry.spec.summary for entry in registry.all("command") if entry.spec.name not in COMMANDS}


def _verbose(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        _logger.setLevel(logging.DEBUG)


def _verbose_option() -> click.Option:
    return click.Option(
        ["-v", "--verbose"],
        is_flag=True,
        default=False,
        expose_value=False,
        callback=_verbose,
        help="Show the traceback of an error.",
    )


def _with_verbose(command: click.Command) -> click.Command:
    """Let -v stand behind the command too."""
    if not any("-v" in parameter.opts for parameter in command.params):
        command.params.append(_verbose_option())
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _with_verbose(inner)
    return command


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from iclkit import __version__

        click.echo(f"iclkit {__version__}")
        ctx.exit()


_version_option = click.Option(
    ["--version"],
    is_flag=True,
    default=False,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Show the version.",
)

group = Commands(
    name="iclkit",
    help="In-context learning measured against exact theory: one config file, one command, one labelled cube.",
    epilog="First steps: `iclkit config example > first.toml`, then `iclkit run first.toml`.",
    params=[_verbose_option(), _version_option],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class _ToStderr(logging.Handler):
    """Log lines in the form of the other messages; a traceback only when it was asked for."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message and, in one line, the exception behind it."""
        if _logger.isEnabledFor(logging.DEBUG):
            return super().format(record)
        error = record.exc_info[1] if record.exc_info else None
        return record.getMessage() + (f": {_one_line(error)}" if error else "")

    def emit(self, record: logging.LogRecord) -> None:
        """Write to what standard error is now (a live view redirects it)."""
        click.echo(f"iclkit: {self.format(record)}", err=True)


def main(args: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    _logger.setLevel(logging.WARNING)
    _logger.handlers[:] = [_ToStderr()]
    code = _exit_code(args)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
    world.end(code)


def _exit_code(args: Sequence[str] | None) -> int:
    """Run a command; say what went wrong in one place."""
    try:
        result: Any = group.main(args, prog_name="iclkit", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):  # a run says more, see terminal.interruptible
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has left, as `head` does
        _forget_stdout()
        return 1
    except ConfigError as error:
        _trace()
        click.echo(str(error), err=True)
        return error.exit_code
    except IclkitError as error:
        _trace()
        _say(str(error))
        return error.exit_code
    except OSError as error:
        _trace()
        where = f"{error.filename}: " if error.filename else ""
        _say(f"{where}{error.strerror or error}")
        return 6
    except Exception as error:
        _trace()
        hint = "" if _logger.isEnabledFor(logging.DEBUG) else " (run with -v for the traceback)"
        _say(f"unexpected {_one_line(error)}{hint}")
        return 1


def _say(message: str) -> None:
    click.echo(f"iclkit: {message}", err=True)


def _trace() -> None:
    if _logger.isEnabledFor(logging.DEBUG):
        traceback.print_exc()


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _forget_stdout() -> None:
    """Point standard output nowhere, so that the interpreter's last flush says nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
