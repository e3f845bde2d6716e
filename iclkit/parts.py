"""Immutable parts: what one pass measured, in one file, written once.

A part is an .npz file: the arrays by name, and `header`, a JSON text with their dims and attributes and with what
was measured. Readable by numpy alone; nothing in it is ever unpickled.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from attrs import frozen

from iclkit import files
from iclkit.config import digest
from iclkit.errors import StoreError


@frozen(kw_only=True, eq=False)
class Part:
    """A part on disk: its file and its header, which names its pass and the digests of its metrics."""

    path: Path
    header: Mapping[str, Any]

    def load(self) -> xr.Dataset:
        """Read the arrays."""
        with np.load(self.path, allow_pickle=False) as file:
            variables = {
                name: (
                    about["dims"],
                    file[name].astype(str) if file[name].dtype.kind == "U" else file[name],
                    about["attrs"],
                )
                for name, about in self.header["variables"].items()
            }
        made = xr.Dataset(variables)
        return made.set_coords([name for name, about in self.header["variables"].items() if about["coord"]])


class Parts:
    """All parts of a run folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._parts: dict[str, list[Part]] = {}
        for path in sorted(folder.glob("*.npz")):
            header = _header(path)
            self._parts.setdefault(header["pass"], []).append(Part(path=path, header=header))

    def failure(self, pass_id: str, metrics: Mapping[str, str]) -> dict[str, Any] | None:
        """Return how measuring these metrics of a pass failed: status, error and traceback; None if it did not."""
        failed = files.read_json(self.folder / f"{pass_id}.failed.json")
        return failed if failed and failed["metrics"].items() & metrics.items() else None

    def missing(self, pass_id: str, metrics: Mapping[str, str]) -> list[str]:
        """Return the names of the metrics that no part of a pass holds."""
        held = {item for part in self._parts.get(pass_id, ()) for item in part.header["metrics"].items()}
        return [name for name, wanted in metrics.items() if (name, wanted) not in held]

    def of(self, pass_id: str, metrics: Mapping[str, str]) -> list[tuple[Part, list[str]]]:
        """Return the parts that hold these metrics of a pass, each with the metrics to take from it."""
        wanted, found = dict(metrics), []
        for part in self._parts.get(pass_id, ()):
            names = [name for name, made in part.header["metrics"].items() if wanted.get(name) == made]
            if names:
                found.append((part, names))
                for name in names:
                    del wanted[name]
        return found


def _header(path: Path) -> Mapping[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return json.loads(str(file["header"]))
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} is damaged ({error}); remove it and run again to measure anew") from None


def record_failure(folder: Path, pass_id: str, failure: Mapping[str, Any] | None) -> None:
    """Write how a pass failed, with the digests of the metrics that did, or forget that it did."""
    path = folder / f"{pass_id}.failed.json"
    if failure is None:
        path.unlink(missing_ok=True)
    else:
        files.write_json(path, failure)


def write(folder: Path, pass_id: str, metrics: Mapping[str, str], data: xr.Dataset, about: Mapping[str, Any]) -> Path:
    """Write a part; its name is its pass and the digest of the metrics it holds."""
    variables = {
        str(name): {"dims": list(array.dims), "attrs": dict(array.attrs), "coord": name in data.coords}
        for name, array in data.variables.items()
    }
    header = {"pass": pass_id, "metrics": dict(metrics), "variables": variables, **about}
    arrays: dict[str, Any] = {str(name): np.asarray(array.values) for name, array in data.variables.items()}
    for name, array in arrays.items():
        if array.dtype.kind in "OT":
            arrays[name] = array.astype(np.str_)
    arrays["header"] = np.array(json.dumps(header))
    path = folder / f"{pass_id}-{digest(dict(metrics))}.npz"
    files.write(path, lambda file: np.savez(file, **arrays))
    return path


def joined(pieces: Sequence[xr.Dataset]) -> xr.Dataset:
    """Merge datasets: the labels of a dim are those of all, numbers sorted and names as they first come."""
    union: dict[Any, dict[Any, None]] = {}
    for piece in pieces:
        for dim, index in piece.indexes.items():
            union.setdefault(dim, {}).update(dict.fromkeys(index.tolist()))
    names = {dim for dim, found in union.items() if any(isinstance(label, str) for label in found)}
    labels = {dim: list(found) if dim in names else sorted(found) for dim, found in union.items()}
    aligned = [piece.reindex({dim: labels[dim] for dim in piece.indexes}) for piece in pieces]
    return xr.merge(aligned, join="exact", compat="no_conflicts")
