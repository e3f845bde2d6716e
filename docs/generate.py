"""Write docs/reference from the specs, the hooks, the commands and the errors, and docs/gallery.md from what the packs
measured; `--check` says what has drifted."""

import csv
import inspect
import itertools
import os
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click

os.environ["ICLKIT_PLUGINS"] = ""  # the reference is of what iclkit itself provides

from iclkit import cli, errors, hookspecs, manual, plugins

FOLDER = Path(__file__).parent
EXAMPLES = FOLDER.parent / "examples"
PACKS = {
    "next-token-implies-icl": "Next-token pretraining implies in-context learning ([2505.18373](https://arxiv.org/abs/2505.18373))",
    "icl-emerges-from-generalization": "In-context learning emerges from generalisation ([2502.17024](https://arxiv.org/abs/2502.17024))",
    "landmarks": "Landmarks",
}
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
    made = {f"reference/{name}": text for name, text in made.items()} | {"gallery.md": _gallery()}
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


def _gallery() -> str:
    """Return the claims of both papers and of the landmarks, what was measured, and the pictures."""
    text = [inspect.cleandoc(GALLERY) + "\n"]
    for pack, title in PACKS.items():
        text.append(f"## {title}\n")
        tables = sorted((EXAMPLES / pack / "measured").glob("*.csv"))
        rows = [row for table in tables for row in _claims(pack, table)]
        text.append(
            "| claim | paper | measured | verdict | command |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
        )
        for table in tables:
            with (EXAMPLES / pack / f"{table.stem}.toml").open("rb") as file:
                name = tomllib.load(file)["title"]
            for picture in sorted((EXAMPLES / pack / "figures").glob(f"{table.stem}-*.png")):
                figure = picture.stem.removeprefix(f"{table.stem}-")
                text.append(f"![{name}: {figure}](../examples/{pack}/figures/{picture.name})\n")
                text.append(f"*{name}* (figure `{figure}`).\n")
    return "\n".join(text)


def _claims(pack: str, table: Path) -> Iterator[str]:
    """Yield a row for each claim of an experiment."""
    with table.open(newline="") as file:
        lines = list(csv.DictReader(file))
    command = f"`iclkit run examples/{pack}/{table.stem}.toml`"
    for (claim, paper, verdict), numbers in itertools.groupby(
        lines, lambda row: (row["claim"], row["paper"], row["verdict"])
    ):
        told = []
        for (quantity, units), same in itertools.groupby(numbers, lambda row: (row["quantity"], row["units"])):
            unit = "" if units == "1" else f" ({units})"
            told.append(f"**{quantity}**{unit}: {'; '.join(_value(row) for row in same)}")
        cells = claim, paper, "<br>".join(told), verdict, command
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(row: dict[str, str]) -> str:
    mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
    interval = f" ({low:.3g} to {high:.3g})" if low == low else ""
    setting = f"{row['setting']}: " if row["setting"] else ""
    expected = f", expected {row['expected']}" if row["expected"] else ""
    return f"{setting}{mean:.3g}{interval}{expected}"


GALLERY = """
# Gallery: what the papers claim and what was measured

Every line is an experiment of the folder `examples`: its config beside the file that measures it. Intervals are
Student's 95 % over seeds. "Reported" means that nothing is asserted. `python examples/report.py FILE` runs one at full
size on two cores and writes the numbers below; with `--reduced` it takes minutes and stores nothing.
"""


def drifted() -> list[str]:
    """Return the names of pages that are not what they should be."""
    return [
        name for name, text in pages().items() if not (FOLDER / name).exists() or (FOLDER / name).read_text() != text
    ]


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(f"run docs/generate.py; drifted: {', '.join(drifted())}" if drifted() else 0)
    for page, content in pages().items():
        (FOLDER / page).write_text(content)
        print(FOLDER / page)
