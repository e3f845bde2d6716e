"""Files of text as topics, and their tokens in files that can be mapped into memory. Pure Python.

A plain .txt file that is a topic of bytes is used where it lies. Everything else is tokenized once into a cache: a raw
array of unsigned integers, named by the digest of what it was made from. The cache is the folder that the environment
variable ICLKIT_CACHE names, or iclkit in XDG_CACHE_HOME (~/.cache).
"""

import array
import functools
import gzip
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from attrs import frozen

_SUFFIXES = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")
_ALLOWED = ".txt, .jsonl, .txt.gz or .jsonl.gz"
_FORMAT = 1  # raised when the same files would give other tokens
_BLOCK = 1 << 20  # bytes copied at a time


class CorpusError(Exception):
    """Something is wrong with the files; `key` is the field of the config that leads to them."""

    def __init__(self, key: str, message: str):
        super().__init__(f"{key}: {message}")
        self.key, self.message = key, message


class Settings(Protocol):
    """What of a text source's config matters here."""

    @property
    def path(self) -> Path:
        """The file or folder."""
        ...

    @property
    def topic(self) -> Literal["folder", "file"]:
        """What a topic is."""
        ...

    @property
    def field(self) -> str:
        """The field of a line of .jsonl."""
        ...

    @property
    def tokenizer(self) -> Path | None:
        """The tokenizer file."""
        ...


@frozen
class Topic:
    """A topic: its name relative to the path, and its files in order."""

    name: str
    files: tuple[Path, ...]


def topics(settings: Settings) -> tuple[Topic, ...]:
    """Return the topics, sorted by name; raises CorpusError where there are none."""
    path = settings.path
    if not path.exists():
        raise CorpusError("path", f"{path} does not exist; allowed: a file or folder of {_ALLOWED}")
    if path.is_file():
        if not path.name.endswith(_SUFFIXES):
            raise CorpusError("path", f"{path} is not text; allowed: {_ALLOWED}")
        if settings.topic == "folder":
            raise CorpusError("topic", f'"folder" needs a folder of folders, but {path} is a file')
        return (Topic(path.name, (path,)),)
    files = [file for file in _sorted(path.rglob("*"), path) if _is_text(file, path)]
    if not files:
        raise CorpusError("path", f"{path} has no text in it; allowed: a folder with files of {_ALLOWED}")
    if settings.topic == "file":
        return tuple(Topic(file.relative_to(path).as_posix(), (file,)) for file in files)
    loose = [file.name for file in files if file.parent == path]
    if loose:
        raise CorpusError("path", f"{path} has files beside its folders ({loose[0]}); with topic = folder none may be")
    names = sorted({file.relative_to(path).parts[0] for file in files})
    return tuple(
        Topic(name, tuple(file for file in files if file.relative_to(path).parts[0] == name)) for name in names
    )


def _sorted(files: Iterator[Path], path: Path) -> list[Path]:
    return sorted(files, key=lambda file: file.relative_to(path).parts)


def _is_text(file: Path, path: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
    return file.name.endswith(_SUFFIXES) and not hidden and file.is_file()


def vocabulary(tokenizer: Path | None) -> int:
    """Return the number of tokens: 256 bytes, or what the tokenizer file lists, added tokens included."""
    if tokenizer is None:
        return 256
    return _vocabulary(tokenizer, stamp(tokenizer, "tokenizer"))


@functools.lru_cache
def _vocabulary(file: Path, stamp: tuple[int, int]) -> int:
    try:
        content = json.loads(file.read_bytes())
        words = content["model"]["vocab"]
        ids = list(words.values()) if isinstance(words, dict) else list(range(len(words)))
        ids += [word["id"] for word in content.get("added_tokens", ())]
        return 1 + max(ids)
    except (ValueError, KeyError, TypeError, AttributeError):
        text = f"{file} is not a tokenizer file; allowed: a tokenizer.json of the tokenizers library"
        raise CorpusError("tokenizer", text) from None


def typecode(settings: Settings) -> Literal["B", "H", "I"]:
    """Return the unsigned integers that tokens are stored as: of 1, 2 or 4 bytes."""
    size = vocabulary(settings.tokenizer)
    return "B" if size <= 1 << 8 else "H" if size <= 1 << 16 else "I"


def count(settings: Settings, topic: Topic) -> int:
    """Return the number of a topic's tokens."""
    if settings.tokenizer is None and all(file.name.endswith(".txt") for file in topic.files):
        return sum(stamp(file)[1] for file in topic.files)
    return tokens(settings, topic).stat().st_size // array.array(typecode(settings)).itemsize


def tokens(settings: Settings, topic: Topic) -> Path:
    """Return the file of a topic's tokens, made if it is not in the cache; raises CorpusError for bad content."""
    if settings.tokenizer is None and len(topic.files) == 1 and topic.files[0].name.endswith(".txt"):
        return topic.files[0]
    about = [_FORMAT, sys.byteorder, typecode(settings), settings.field]
    about += [_digest(file, stamp(file)) for file in topic.files]
    about += [file.name.removesuffix(".gz").rpartition(".")[2] for file in topic.files]
    if settings.tokenizer is not None:
        about.append(_digest(settings.tokenizer, stamp(settings.tokenizer, "tokenizer")))
    name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
    place = _cache() / "text" / f"{name}.tokens"
    if not place.exists():
        _write(place, lambda target: _tokenize(settings, topic, target))
    return place


def _cache() -> Path:
    given = os.environ.get("ICLKIT_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "iclkit"


def _write(place: Path, fill: Callable[[BinaryIO], None]) -> None:
    """Write a file whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with os.fdopen(handle, "wb") as target:
            fill(target)
            target.flush()
            os.fsync(target.fileno())
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _tokenize(settings: Settings, topic: Topic, target: BinaryIO) -> None:
    encode = None if settings.tokenizer is None else encoder(settings.tokenizer)
    code = typecode(settings)
    for file in topic.files:
        if encode is None and ".txt" in file.suffixes[-2:]:
            with _opened(file) as source:
                while block := _checked(file, lambda source=source: source.read(_BLOCK)):  # type: ignore[misc]
                    target.write(block)
            continue
        for text in _documents(file, settings.field):
            if encode is None:
                target.write(text.encode() + b"\n")
            else:
                target.write(array.array(code, encode(text)).tobytes())


def _documents(file: Path, field: str) -> Iterator[str]:
    """Iterate over the documents of a file: the whole of a .txt, each line's field of a .jsonl."""
    if ".txt" not in file.suffixes[-2:]:
        for where, record in records(file):
            if not isinstance(record, dict) or not isinstance(record.get(field), str):
                fields = ", ".join(record) if isinstance(record, dict) else "no object"
                raise CorpusError("field", f'{where}: no text in a field "{field}"; there are: {fields}')
            yield record[field]
        return
    with _opened(file) as source:
        yield _decoded(_checked(file, source.read), file, 0)


def records(file: Path) -> Iterator[tuple[str, Any]]:
    """Iterate over the lines of a .jsonl that are not empty: where each is, and what it says."""
    place, number = 0, 0
    with _opened(file) as source:
        while line := _checked(file, source.readline):
            number += 1
            text = _decoded(line, file, place)
            place += len(line)
            if not text.strip():
                continue
            where = f"{file}, line {number}"
            try:
                yield where, json.loads(text)
            except ValueError as error:
                raise CorpusError("path", f"{where}: not valid JSON: {error}") from None


def _opened(file: Path) -> BinaryIO:
    return gzip.open(file, "rb") if file.name.endswith(".gz") else file.open("rb")  # type: ignore[return-value]


def _checked(file: Path, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except (gzip.BadGzipFile, EOFError) as error:
        raise CorpusError("path", f"{file} is not a whole gzip file: {error}") from None


def _decoded(content: bytes, file: Path, place: int) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        what = "of the unpacked file " if file.name.endswith(".gz") else ""
        text = f"{file}: invalid UTF-8 at byte {place + error.start} {what}({error.reason})"
        raise CorpusError("path", f"{text}; allowed: UTF-8, or .txt by bytes, without a tokenizer") from None


def encoder(file: Path) -> Callable[[str], list[int]]:
    """Return what makes tokens of text by a tokenizer file."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        text = "needs the tokenizers library; install iclkit[text], or leave the key out to read bytes"
        raise CorpusError("tokenizer", text) from None
    tokenizer = Tokenizer.from_file(str(file))
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def stamp(file: Path, key: str = "path") -> tuple[int, int]:
    """Return what tells that a file has changed: its time of change, in ns, and its size, in bytes."""
    try:
        found = file.stat()
    except OSError as error:
        raise CorpusError(key, f"{file} cannot be read: {error.strerror}") from None
    return found.st_mtime_ns, found.st_size


@functools.cache
def _digest(file: Path, stamp: tuple[int, int]) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
