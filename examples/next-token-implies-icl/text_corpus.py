"""Write the texts of text.toml, five kinds that every Python installation has, into the folder text-corpus beside it.

    python examples/next-token-implies-icl/text_corpus.py

A config's `data.topics = K` takes the first K files of a folder. There is a folder for each of the five texts to come
first, with the others after it in a fixed cyclic order, so that over the folders every text counts as much at every K.
"""

import dis
import importlib.util
import io
import pydoc
import unicodedata
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pydoc_data.topics import topics

FOLDER = Path(__file__).with_name("text-corpus")
BYTES = 400_000  # of each text
_MODULES = (
    *("argparse", "ast", "calendar", "configparser", "csv", "difflib", "doctest", "enum", "fractions", "ftplib"),
    *("gzip", "heapq", "inspect", "locale", "mailbox", "nntplib", "optparse", "pathlib", "pdb", "pickle", "platform"),
    *("pydoc", "random", "shutil", "smtplib", "socket", "statistics", "subprocess", "tarfile", "tempfile", "textwrap"),
    *("threading", "tokenize", "traceback", "typing", "uuid", "warnings", "weakref", "zipfile"),
)


def documentation() -> Iterator[str]:
    """Yield the language reference, prose of an English kind."""
    yield from (topics[name] for name in sorted(topics))


def source() -> Iterator[str]:
    """Yield the source code of modules."""
    for path in _files():
        yield path.read_text(encoding="utf-8")


def bytecode() -> Iterator[str]:
    """Yield the listings of what those modules are compiled to."""
    for path in _files():
        listing = io.StringIO()
        dis.dis(compile(path.read_text(encoding="utf-8"), path.name, "exec"), file=listing)
        yield listing.getvalue()


def html() -> Iterator[str]:
    """Yield the documentation of those modules as HTML."""
    for name in _MODULES:
        if importlib.util.find_spec(name) is not None:
            yield pydoc.HTMLDoc().docmodule(import_module(name))


def characters() -> Iterator[str]:
    """Yield the names of characters, a list; those of ideographs and syllables are left out."""
    for number in range(0x110000):
        name = unicodedata.name(chr(number), "")
        if name and not name.startswith(("CJK UNIFIED IDEOGRAPH", "HANGUL SYLLABLE")):
            yield name.lower()


TEXTS = (documentation, source, characters, html, bytecode)


def write(folder: Path = FOLDER) -> None:
    """Write the folders 1 to 5, if they are not there."""
    if (folder / str(len(TEXTS))).exists():
        return
    contents = [(text.__name__, _taken(text())) for text in TEXTS]
    for first in range(len(contents)):
        place = folder / str(first + 1)
        place.mkdir(parents=True, exist_ok=True)
        for rank, (name, content) in enumerate(contents[first:] + contents[:first], start=1):
            (place / f"{rank}-{name}.txt").write_bytes(content)


def _taken(parts: Iterator[str]) -> bytes:
    content = b""
    for part in parts:
        content += part.encode() + b"\n"
        if len(content) >= BYTES:
            break
    return content[:BYTES]


def _files() -> Iterator[Path]:
    for name in _MODULES:
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None and found.origin.endswith(".py"):
            yield Path(found.origin)


if __name__ == "__main__":
    write()
