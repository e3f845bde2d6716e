"""Write docs/reference from the specs, the hooks, the commands and the errors; `--check` says what has drifted."""

import inspect
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

os.environ["ICLKIT_PLUGINS"] = ""  # the reference is of what iclkit itself provides

from iclkit import cli, errors, hookspecs, manual, plugins

FOLDER = Path(__file__).parent / "reference"
MADE = "<!-- made by docs/generate.py; do not edit -->\n\n"


def pages() -> dict[str, str]:
    """Return all pages by file name."""
    made = {f"{name}.md": text for name, text in manual.reference(plugins.load().registry).items()}
    made["commands.md"] = _commands()
    made["hooks.md"] = _hooks()
    made["exit-codes.md"] = _exit_codes()
    titles = {name: text.splitlines()[0].lstrip("# ") for name, text in made.items()}
    links = "".join(f"- [{title}]({name})\n" for name, title in sorted(titles.items()))
    made["index.md"] = f"# Reference\n\n{links}- [Glossary](glossary.md)\n- [The cube](cube.md)\n"
    return {name: MADE + text.rstrip() + "\n" for name, text in made.items()}


def _commands() -> str:
    sections = ["# Commands\n"]
    for path, command in _walk("iclkit", cli.group, None):
        context = click.Context(command, info_name=path, max_content_width=100, terminal_width=100)
        sections.append(f"## `{path}`\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(sections)


def _walk(path: str, command: click.Command, parent: click.Context | None) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path, parent=parent)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _walk(f"{path} {name}", inner, context)


def _hooks() -> str:
    text = [f"# Hooks\n\n{inspect.cleandoc(hookspecs.__doc__ or '')}\n"]
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction):
        if name.startswith("iclkit_"):
            about, _, example = inspect.cleandoc(function.__doc__ or "").partition("Example::")
            signature = str(inspect.signature(function))
            code = textwrap.dedent(example).strip()
            text.append(f"## `{name}{signature}`\n\n{about.strip()}\n\n```python\n{code}\n```\n")
    return "\n".join(text)


def _exit_codes() -> str:
    rows = [(0, "", "success"), (130, "", "interrupted; what was finished is kept, running again continues")]
    for name, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, errors.IclkitError):
            rows.append((error.exit_code, f"`{name}`", inspect.cleandoc(error.__doc__ or "").splitlines()[0]))
    lines = [f"| {code} | {name} | {about} |" for code, name, about in sorted(rows)]
    return "# Exit codes\n\n| code | error | meaning |\n|---|---|---|\n" + "\n".join(lines)


def drifted() -> list[str]:
    """Return the names of pages that are not what they should be."""
    stands = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    return [name for name, text in pages().items() if stands.get(name) != text]


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(f"run docs/generate.py; drifted: {', '.join(drifted())}" if drifted() else 0)
    for page, content in pages().items():
        (FOLDER / page).write_text(content)
        print(FOLDER / page)
