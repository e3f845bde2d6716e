"""Files of tasks: lines of {"input", "label", "options"}. Pure Python."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen

from iclkit_sources.text import corpus
from iclkit_sources.text.corpus import CorpusError

_SUFFIXES = (".jsonl", ".jsonl.gz")


@frozen
class Line:
    """An input, the place of its label among the options, and the options."""

    input: str
    right: int
    options: tuple[str, ...]


@frozen
class Task:
    """A task: its name and its lines in order."""

    name: str
    lines: tuple[Line, ...]


class Settings(Protocol):
    """What of a source's config matters here."""

    @property
    def tokenizer(self) -> Path | None:
        """The tokenizer file."""
        ...


def tasks(path: Path) -> tuple[Task, ...]:
    """Return the tasks in the order in which they come; raises CorpusError where there are none."""
    if not path.exists():
        raise CorpusError("path", f"{path} does not exist; allowed: a file or folder of {' or '.join(_SUFFIXES)}")
    found = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.name.endswith(_SUFFIXES))
    if not found or not found[0].name.endswith(_SUFFIXES):
        raise CorpusError("path", f"{path} has no tasks in it; allowed: a file or folder of {' or '.join(_SUFFIXES)}")
    return _read(tuple((file, corpus.stamp(file)) for file in found))


def encoder(settings: Settings) -> Callable[[str], list[int]]:
    """Return what makes tokens of text: UTF-8 bytes, or the tokenizer's."""
    if settings.tokenizer is not None:
        return corpus.encoder(settings.tokenizer)
    return lambda text: list(text.encode())


@functools.lru_cache(maxsize=8)
def _read(found: tuple[tuple[Path, tuple[int, int]], ...]) -> tuple[Task, ...]:
    lines: dict[str, list[Line]] = {}
    for file, _ in found:
        for where, record in corpus.records(file):
            name = record.get("task", file.name.removesuffix(".gz").removesuffix(".jsonl")) if _whole(record) else None
            if not isinstance(name, str):
                text = (
                    'expected {"input": text, "label": text, "options": [text, ...]} with the label among the options'
                )
                raise CorpusError("path", f"{where}: {text}")
            right = record["options"].index(record["label"])
            lines.setdefault(name, []).append(Line(record["input"], right, tuple(record["options"])))
    if not lines:
        raise CorpusError("path", f"{found[0][0]} has no line in it")
    return tuple(Task(name, tuple(those)) for name, those in lines.items())


def _whole(record: Any) -> bool:
    if not isinstance(record, dict) or not isinstance(record.get("input"), str):
        return False
    options = record.get("options")
    if not isinstance(options, list) or len(options) < 2 or not all(isinstance(one, str) and one for one in options):
        return False
    return record.get("label") in options
