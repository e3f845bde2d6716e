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
    """Return the claims of both papers and of the landmarks in one table each, then every number and the pictures."""
    text = [inspect.cleandoc(GALLERY) + "\n"]
    for pack, title in PACKS.items():
        tables = sorted((EXAMPLES / pack / "measured").glob("*.csv"))
        text.append(f"## {title}\n\n| claim | paper | measured | verdict | run |\n|---|---|---|---|---|")
        text += [_summary(claim, table.stem) for table in tables for claim in _claims(table)]
        rest = sorted({path.stem for path in (EXAMPLES / pack).glob("*.toml")} - {table.stem for table in tables})
        text.append(f"\nStill to be run at full size: {', '.join(rest)}.\n" if rest else "")
        for table in tables:
            text += _experiment(pack, table)
    return "\n".join(text)


def _claims(table: Path) -> list[list[dict[str, str]]]:
    """Return the lines of an experiment's table, claim by claim."""
    with table.open(newline="") as file:
        return [list(lines) for _, lines in itertools.groupby(csv.DictReader(file), lambda line: line["claim"])]


def _summary(claim: list[dict[str, str]], name: str) -> str:
    """Return a row of the summary: of the numbers the first quantity, at its first and last settings."""
    shown = [line for line in claim if line["quantity"] == claim[0]["quantity"]]
    if len(shown) > 3:
        shown = [shown[0], shown[-1]]
    numbers = "; ".join(f"{line['setting']}: {_value(line)}".removeprefix(": ") for line in shown)
    verdict = claim[0]["verdict"].partition(":")[0]
    cells = claim[0]["claim"], claim[0]["paper"], f"{_quantity(claim[0])}: {numbers}", verdict
    return "| " + " | ".join(map(_cell, cells)) + f" | [{name}](#{name}) |"


def _experiment(pack: str, table: Path) -> Iterator[str]:
    """Yield an experiment's command, the numbers of its claims and its figures."""
    with (EXAMPLES / pack / f"{table.stem}.toml").open("rb") as file:
        title = tomllib.load(file)["title"]
    yield f"({table.stem})=\n### {title}\n\n```sh\niclkit run examples/{pack}/{table.stem}.toml\n```\n"
    for claim in _claims(table):
        yield f"**{claim[0]['claim']}**: {claim[0]['verdict']}. Paper: {claim[0]['paper']}.\n"
        quantities = list(dict.fromkeys(map(_quantity, claim)))
        yield f"| | {' | '.join(map(_cell, quantities))} |\n|---|{'---|' * len(quantities)}"
        for setting, lines in _by_setting(claim).items():
            told = {_quantity(line): _value(line, expected=True) for line in lines}
            yield f"| {_cell(setting)} | {' | '.join(_cell(told.get(name, '')) for name in quantities)} |"
        yield ""
    for picture in sorted((EXAMPLES / pack / "figures").glob(f"{table.stem}-*.png")):
        figure = picture.stem.removeprefix(f"{table.stem}-")
        yield f"![{title}: {figure}](../examples/{pack}/figures/{picture.name})\n"


def _by_setting(claim: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for line in claim:
        found.setdefault(line["setting"], []).append(line)
    return found


def _quantity(line: dict[str, str]) -> str:
    return line["quantity"] if line["units"] == "1" else f"{line['quantity']} ({line['units']})"


def _value(line: dict[str, str], *, expected: bool = False) -> str:
    mean, low, high = (float(line[name]) for name in ("mean", "low", "high"))
    interval = f" ({low:.3g} to {high:.3g})" if low == low else ""
    wanted = f", expected {line['expected']}" if expected and line["expected"] else ""
    return f"{mean:.3g}{interval}{wanted}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


GALLERY = """
# Gallery: what the papers claim and what was measured

Each line is a claim of an experiment of the folder `examples`; below the tables stand the experiments with all their
numbers. Intervals are Student's 95 % over seeds unless it is said otherwise; "reported" means that nothing is asserted.
`python examples/report.py FILE` runs one at full size on two cores and writes the numbers below; with `--reduced` it
takes minutes and stores nothing.
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
