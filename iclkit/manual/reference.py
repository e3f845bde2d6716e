"""The reference: Markdown pages of every table, key and component."""

from collections.abc import Iterable
from typing import Any

from iclkit.config import Data, Evaluation, Holdout, Store
from iclkit.manual.keys import (
    ABOUT,
    CONFIGURABLE,
    CONTEXT,
    DATA_ABOUT,
    EVALUATION_ABOUT,
    GROW,
    HOLDOUT_ABOUT,
    NAME,
    SEED,
    SEEDS_ABOUT,
    STORE_ABOUT,
    TITLE,
    WORKERS,
    Key,
    cell,
    keys_of,
    plural,
    row,
    seed_keys,
)
from iclkit.registry import Registry

_NEEDS = {
    "holdout-topics": "`data.holdout.topics`",
    "holdout-sequences": "`data.holdout.sequences` with a number of `data.topics`",
    "drawn-topics": "a source whose topics are drawn",
    "finite-data": "numbers of `data.topics` and `data.sequences`",
    "one-pass": "a training that meets no sequence twice",
    "prior": "a table `[prior]`",
}


def reference(registry: Registry) -> dict[str, str]:
    """Return Markdown pages by name: `config` with the fixed tables, and one page for each kind of component."""
    pages = {"config": _config_page()}
    for kind, table in CONFIGURABLE.items():
        sections = [_component_section(entry.spec) for entry in registry.all(kind)]
        header = "[[metrics]]" if kind == "metric" else f"[{table}]"
        head = f"# {plural(kind).capitalize()}\n\n{ABOUT[kind]} Chosen by `kind` in `{header}`."
        pages[plural(kind)] = "\n\n".join([head, *sections]) + "\n"
    for kind in ("figure", "check", "command"):
        rows = [f"| `{entry.spec.name}` | {cell(entry.spec.summary)} |" for entry in registry.all(kind)]
        if rows:
            pages[plural(kind)] = "\n".join(
                [f"# {plural(kind).capitalize()}\n", "| name | what |", "|---|---|", *rows, ""]
            )
    return pages


def _config_page() -> str:
    tables = {
        "the top": ("Before any table.", [TITLE, SEED]),
        "[seeds]": (SEEDS_ABOUT, seed_keys()),
        "[data]": (DATA_ABOUT, keys_of(Data)),
        "[data.holdout]": (HOLDOUT_ABOUT, keys_of(Holdout)),
        "[model]": ("Beside the keys of the model.", [CONTEXT]),
        "[prior]": ("Overrides of source, data, model, trainer and seeds for a training that runs first.", [GROW]),
        "[evaluation]": (EVALUATION_ABOUT, keys_of(Evaluation)),
        "[[metrics]]": ("Beside the keys of the metric.", [NAME]),
        "[execution]": ("Beside the keys of the executor.", [WORKERS]),
        "[store]": (STORE_ABOUT, keys_of(Store)),
    }
    sections = [
        f"## {name if name == 'the top' else f'`{name}`'}\n\n{about}\n\n{_key_table(keys)}"
        for name, (about, keys) in tables.items()
    ]
    return "\n\n".join(["# Config", *sections]) + "\n"


def _component_section(spec: Any) -> str:
    said = " This is the default." if spec.default else ""
    parts = [f"## {spec.name}", f"{spec.summary}{said}{_needs(spec)}"]
    keys = keys_of(spec.config)
    parts.append(_key_table(keys) if keys else "It has no keys.")
    variables = getattr(spec, "variables", ())
    if variables:
        rows = [f"| `{one.name}` | {', '.join(one.dims)} | {one.units} | {cell(one.long_name)} |" for one in variables]
        parts.append("\n".join(["| variable | dims | units | what |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _needs(spec: Any) -> str:
    """Say what a metric with its default settings cannot do without."""
    needs = spec.needs(spec.config()) if hasattr(spec, "needs") else ()
    words = [_NEEDS.get(need, f"a trainer that records `{need.partition(':')[2]}`") for need in needs]
    return f" It needs {', '.join(words)}." if words else ""


def _key_table(keys: Iterable[Key]) -> str:
    lines = ["| key | type | default | limits | what |", "|---|---|---|---|---|"]
    for key in keys:
        words = row(key)
        default = words["default"] if key.required or not words["default"] else f"`{words['default']}`"
        default = key.fallback if key.fallback else default
        lines.append(
            f"| `{words['key']}` | {cell(words['type'])} | {default} | {words['limits']} | {cell(words['doc'])} |"
        )
    return "\n".join(lines)
