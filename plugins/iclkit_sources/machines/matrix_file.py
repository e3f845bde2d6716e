"""Hidden Markov models from .npz files, read in pure Python: nothing is unpickled, nothing heavy is imported."""

import ast
import struct
import zipfile
import zlib
from math import prod
from pathlib import Path

from attrs import frozen

from iclkit_sources.machines.zoo import Process

_MAGIC = b"\x93NUMPY"
_FLOATS = {"f8": "d", "f4": "f"}


@frozen
class _Array:
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    values: tuple[float, ...]

    def __getitem__(self, index: tuple[int, ...]) -> float:
        return self.values[sum(i * stride for i, stride in zip(index, self.strides, strict=True))]


def read_process(path: Path) -> Process:
    """Return the process of arrays `transitions` (V, S, S) and, optionally, `start` (S,), float64 or float32.

    Raises ValueError that says what is wrong: no such file, no .npz file, an array that is missing or has another
    shape or type.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {
                name: archive.read(f"{name}.npy")
                for name in ("transitions", "start")
                if f"{name}.npy" in archive.namelist()
            }
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError) as bad:
        raise ValueError(f"{path.name} is no readable .npz file ({bad})") from None
    if "transitions" not in arrays:
        raise ValueError(f"{path.name} must hold an array named transitions, of shape (V, S, S)")
    array = _parse(arrays["transitions"], "transitions", 3)
    tokens, rows, columns = map(range, array.shape)
    matrices = tuple(tuple(tuple(array[x, i, j] for j in columns) for i in rows) for x in tokens)
    return Process(matrices, _parse(arrays["start"], "start", 1).values if "start" in arrays else None)


def _parse(data: bytes, name: str, dims: int) -> _Array:
    """Read the format of numpy.save: magic, version, length of the header, a literal dict, the numbers."""
    try:
        if not data.startswith(_MAGIC):
            raise ValueError
        wide = data[6] > 1
        length, begin = int.from_bytes(data[8 : 12 if wide else 10], "little"), 12 if wide else 10
        header = ast.literal_eval(data[begin : begin + length].decode("latin-1"))
        described, shape = str(header["descr"]), tuple(map(int, header["shape"]))
        fortran = bool(header["fortran_order"])
    except (ValueError, SyntaxError, KeyError, TypeError, IndexError, MemoryError, RecursionError):
        raise ValueError(f"array {name} is not in the format of numpy.save") from None
    if described[1:] not in _FLOATS or described[0] not in "<>":
        raise ValueError(f"array {name} must be of type float64 or float32, not {described}")
    if len(shape) != dims:
        wanted = "(V, S, S)" if dims == 3 else "(S,)"
        raise ValueError(f"array {name} must have shape {wanted}, not {shape}")
    body = data[begin + length :]
    try:
        values = struct.unpack(f"{described[0]}{prod(shape)}{_FLOATS[described[1:]]}", body)
    except struct.error:
        raise ValueError(f"array {name} has {len(body)} bytes, which do not fill its shape {shape}") from None
    strides = [prod(shape[:axis] if fortran else shape[axis + 1 :]) for axis in range(dims)]
    return _Array(shape, tuple(strides), values)
