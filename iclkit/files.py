"""Writes that matter: a temporary name, flush, fsync, rename. A reader sees the old file or the new, never half."""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from iclkit.errors import StoreError

_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically; `fill` receives the open binary file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _passing_name(path, "tmp")
    try:
        with temporary.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically."""
    write(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """Write text atomically, as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value atomically, one key a line."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; None if there is none. Raises StoreError where it is damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(f"{path} is damaged ({error}); remove it and run again") from None


def swap_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Replace a folder by the one that `fill` makes; a kill in between leaves the old one or none, never half."""
    temporary = _passing_name(path, "tmp")
    try:
        fill(temporary)
        if path.exists():
            retired = _passing_name(path, "old")
            path.rename(retired)
            temporary.rename(path)
            shutil.rmtree(retired)
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync_folder(path.parent)


def sweep_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders that dead processes of this machine left directly inside a folder."""
    for pattern in (".*.tmp", ".*.old"):
        for leftover in folder.glob(pattern):
            if not _writer_lives(leftover):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)


def _passing_name(path: Path, suffix: str) -> Path:
    """Return a hidden name beside a path that tells who writes it: .<name>.<host>-<process>-<random>.<suffix>."""
    return path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{uuid4().hex[:8]}.{suffix}")


def _writer_lives(leftover: Path) -> bool:
    host, _, rest = leftover.stem.rpartition(".")[2].partition("-")
    process = rest.partition("-")[0]
    if host != _HOST or not process.isdigit() or int(process) == os.getpid():
        return host != _HOST and bool(process)  # another machine's: not ours to judge
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
