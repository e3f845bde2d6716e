"""The cube: one zarr v3 group, one Dataset, a pure function of the parts. Written by one process, never in place."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from attrs import frozen

from iclkit import files, provenance
from iclkit.config import digest
from iclkit.errors import StoreError
from iclkit.parts import Parts, joined
from iclkit.plan import Cell, Plan
from iclkit.snapshots import TrainingFolder
from iclkit.specs import Component

CONVENTIONS = "iclkit-1"
_CHUNK_BYTES = 32 << 20
_STATUS = {"pending": 0, "done": 1, "failed": 2}
_COSTS = {
    "wall_time": ("s", "time spent training"),
    "peak_memory": ("byte", "largest resident memory of the training process so far"),
    "tokens_per_second": ("1/s", "training tokens per second of wall time"),
    "prior_cost": ("s", "time spent training the prior this cell started from"),
}


@frozen(kw_only=True, eq=False)
class _Measured:
    """A cell with its place in the cube, what was measured of it, and how its training ended."""

    cell: Cell
    data: xr.Dataset | None
    outcome: Mapping[str, Any]
    prior_outcome: Mapping[str, Any]


def assemble(plan: Plan, path: Path) -> Path:
    """Write the cube of a plan from the parts in its folder, unless it stands there already; return its path."""
    parts = Parts(plan.folder / "parts")
    source = _digest_of(plan, parts)
    if path.exists() and _attributes(path).get("digest") == source:
        return path
    data = _dataset(plan, parts).assign_attrs(_about(plan, source))
    files.swap_folder(path, lambda folder: _write(data, folder))
    return path


def open_cube(path: str | Path) -> xr.Dataset:
    """Open the cube of a run folder (or a cube itself) as an xarray Dataset, lazily.

    Raises StoreError where there is none.
    """
    path = Path(path)
    found = next((place for place in (path / "cube.zarr", path) if (place / "zarr.json").is_file()), None)
    if found is None:
        raise StoreError(
            f"there is no cube at {path}; `iclkit run` makes one, `iclkit assemble` gathers what is measured"
        )
    return xr.open_zarr(found)


def final(data: xr.Dataset) -> xr.Dataset:
    """Return the cube at the last step of each cell; cells that have none are NaN."""
    if not data.sizes.get("step"):
        return data.drop_vars("last_step", errors="ignore").drop_dims("step", errors="ignore")
    steps = data["last_step"].fillna(data["step"][0]).astype(data["step"].dtype)
    return data.sel(step=steps).drop_vars("last_step")


def _digest_of(plan: Plan, parts: Parts) -> str:
    held = []
    for cell in plan.cells:
        wanted = cell.measured
        names = [part.path.name for part, _ in parts.of(wanted.id, wanted.metrics)]
        outcome = TrainingFolder(plan.folder / "trainings" / wanted.training.id).outcome or {}
        failed = parts.failure(wanted.id, wanted.metrics) is not None
        held.append([list(cell.index), wanted.id, names, outcome.get("status"), failed])
    axes = [[axis.dim, [str(label) for label in axis.labels]] for axis in plan.axes]
    return digest([axes, held, plan.text, plan.assignments, provenance.versions()])


def _dataset(plan: Plan, parts: Parts) -> xr.Dataset:
    measured = [_measured(plan, cell, parts) for cell in plan.cells]
    coords = _coordinates(plan, measured)
    data = xr.Dataset(coords=coords)
    for name, template in _templates(measured).items():
        data[name] = _gathered(plan, measured, name, template, coords)
    for name, variable in _sweep_wide(plan, measured).items():
        data[name] = variable
    return data.assign_coords(_companions(plan, measured))


def _measured(plan: Plan, cell: Cell, parts: Parts) -> _Measured:
    wanted = cell.measured
    pieces = []
    for part, names in parts.of(wanted.id, wanted.metrics):
        data = part.load()
        mine = {name for metric in cell.config.metrics if metric.name in names for name in _variables(metric)}
        steps = {name: data[name] for name in ("step", "tokens_seen") if name in data.coords}
        pieces.append(data[[name for name in data.data_vars if name in mine]].assign_coords(steps))
    trainings, prior = plan.folder / "trainings", wanted.training.prior
    outcome = TrainingFolder(trainings / wanted.training.id).outcome or {}
    return _Measured(
        cell=cell,
        data=joined(pieces) if pieces else None,
        outcome=outcome | (parts.failure(wanted.id, wanted.metrics) or {}),
        prior_outcome=TrainingFolder(trainings / prior.id).outcome or {} if prior else {},
    )


def _variables(metric: Component) -> Iterator[str]:
    """Iterate over the names that a metric's results have in a part."""
    yield metric.reason_variable
    for variable in metric.spec.variables:
        yield metric.variable(variable.name)
        yield f"{metric.variable(variable.name)}_se"


def _coordinates(plan: Plan, measured: Sequence[_Measured]) -> dict[str, Any]:
    """Return the sweep's coordinates and the union of the parts' own, numbers sorted, names as they first come."""
    coords: dict[str, Any] = {axis.dim: (axis.dim, _array(axis.labels)) for axis in plan.axes}
    for axis in plan.axes:
        for path, labels in axis.companions.items():
            coords[path.replace(".", "_")] = (axis.dim, _array(labels))
    union: dict[str, dict[Any, None]] = {}
    for one in measured:
        for name, index in (one.data.indexes if one.data is not None else {}).items():
            union.setdefault(str(name), {}).update(dict.fromkeys(index.tolist()))
    for name, values in union.items():
        listed = list(values)
        coords[name] = (name, _array(listed if isinstance(listed[0], str) else sorted(listed)))
    if "position" in coords:
        coords["position"] = (*coords["position"], {"long_name": "position of the predicted token, from 1"})
    return coords


def _array(values: Sequence[Any]) -> np.ndarray:
    """Numbers as int64 or float64, anything else as text."""
    array = np.array(values)
    return array if array.dtype.kind in "if" else np.array([str(value) for value in values], dtype=object)


def _templates(measured: Sequence[_Measured]) -> dict[str, xr.DataArray]:
    found: dict[str, xr.DataArray] = {}
    for one in measured:
        for name, array in (one.data.data_vars if one.data is not None else {}).items():
            found.setdefault(str(name), array)
    return found


def _gathered(
    plan: Plan, measured: Sequence[_Measured], name: str, template: xr.DataArray, coords: Mapping[str, Any]
) -> xr.DataArray:
    """Place every cell's array into one with the sweep's dims in front; what is missing is NaN, or empty text."""
    dims = [str(dim) for dim in template.dims]
    shape = tuple(plan.dims.values()) + tuple(len(coords[dim][1]) for dim in dims)
    text = template.dtype.kind in "OUT"
    whole = np.full(shape, "", dtype=object) if text else np.full(shape, np.nan)
    for one in measured:
        if one.data is not None and name in one.data:
            array = one.data[name].transpose(*dims)
            places = [_places(coords[dim][1], array.indexes[dim].tolist()) for dim in dims]
            values = array.fillna("").values.astype(object) if text else array.values
            whole[(*one.cell.index, *np.ix_(*places))] = values.item() if not dims else values
    return xr.DataArray(whole, dims=(*plan.dims, *dims), attrs=template.attrs)


def _places(whole: np.ndarray, some: Sequence[Any]) -> Any:
    index = {value: place for place, value in enumerate(whole.tolist())}
    return np.array([index[value] for value in some], dtype=np.int64)


def _sweep_wide(plan: Plan, measured: Sequence[_Measured]) -> dict[str, xr.DataArray]:
    """Return status and costs over the sweep's dims."""
    shape = tuple(plan.dims.values())
    status = np.zeros(shape, dtype=np.uint8)
    costs = {name: np.full(shape, np.nan) for name in _COSTS}
    for one in measured:
        ended = one.outcome.get("status")
        status[one.cell.index] = (
            _STATUS["failed"] if ended == "failed" else _STATUS["done"] if one.data is not None else _STATUS["pending"]
        )
        for name in _COSTS:
            costs[name][one.cell.index] = one.outcome.get(name, np.nan)
        costs["prior_cost"][one.cell.index] = one.prior_outcome.get("wall_time", 0.0)
    flags = {
        "flag_values": list(_STATUS.values()),
        "flag_meanings": " ".join(_STATUS),
        "long_name": "state of the cell",
    }
    made = {"status": xr.DataArray(status, dims=tuple(plan.dims), attrs=flags)}
    for name, (units, long_name) in _COSTS.items():
        made[name] = xr.DataArray(costs[name], dims=tuple(plan.dims), attrs={"units": units, "long_name": long_name})
    return made


def _companions(plan: Plan, measured: Sequence[_Measured]) -> dict[str, xr.DataArray]:
    """Return last_step, parameters, tokens_seen and train_flops, with only the sweep dims that change them."""
    shape = tuple(plan.dims.values())
    steps = sorted({step for one in measured for step in _steps(one)})
    last, parameters = np.full(shape, np.nan), np.full(shape, np.nan)
    tokens = np.full((*shape, len(steps)), np.nan)
    for one in measured:
        parameters[one.cell.index] = one.outcome.get("parameters", np.nan)
        if (own := _steps(one)) and one.data is not None and "tokens_seen" in one.data.coords:
            last[one.cell.index] = own[-1]
            tokens[(*one.cell.index, _places(np.array(steps), own))] = one.data["tokens_seen"].values
    dims = tuple(plan.dims)
    made = {
        "last_step": xr.DataArray(last, dims=dims, attrs={"long_name": "step of the last snapshot"}),
        "parameters": xr.DataArray(parameters, dims=dims, attrs={"long_name": "number of parameters"}),
        "tokens_seen": xr.DataArray(
            tokens, dims=(*dims, "step"), attrs={"long_name": "tokens trained on, repeats counted"}
        ),
        "train_flops": xr.DataArray(
            6 * parameters[..., None] * tokens,
            dims=(*dims, "step"),
            attrs={"long_name": "floating-point operations of training, estimated as 6 x parameters x tokens"},
        ),
    }
    return {name: _shrunk(array, plan.dims, whole=name == "last_step") for name, array in made.items()}


def _steps(one: _Measured) -> list[int]:
    """Return the steps a cell was measured at; none where no metric applied."""
    return [] if one.data is None or "step" not in one.data.coords else one.data["step"].values.tolist()


def _shrunk(array: xr.DataArray, sweep_dims: Mapping[str, int], whole: bool) -> xr.DataArray:
    """Drop the sweep dims that change nothing (cells that are not done yet aside)."""
    for dim in sweep_dims:
        known = array.where(array.notnull(), array.max(dim))
        if (known == known.isel({dim: 0})).where(known.notnull(), True).all():
            array = known.isel({dim: 0})
    if whole and array.notnull().all():
        array = array.astype(np.int64)
    return array


def _about(plan: Plan, source: str) -> dict[str, str]:
    return {
        "Conventions": CONVENTIONS,
        "title": plan.title or plan.path.stem,
        "config": plan.text or json.dumps(plan.raw),
        "set": json.dumps(plan.assignments),
        "config_digest": digest(plan.raw),
        "digest": source,
        "versions": json.dumps(provenance.versions()),
        "machine": provenance.machine(),
        "history": "assembled by iclkit from immutable parts",
    }


def _write(data: xr.Dataset, folder: Path) -> None:
    encoding: dict[Any, dict[str, Any]] = {
        name: {"chunks": _chunks(array.shape, array.dtype.itemsize)}
        for name, array in data.variables.items()
        if array.ndim
    }
    for name in data.variables:
        if data[name].dtype.kind == "f":
            encoding.setdefault(name, {})["_FillValue"] = np.nan
    with warnings.catch_warnings():
        # consolidated metadata is not yet in the zarr v3 specification; without it plain xarray would warn the reader
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part", category=UserWarning)
        data.to_zarr(folder, mode="w-", zarr_format=3, consolidated=True, encoding=encoding)


def _chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """One chunk up to 32 MiB, then split along the first dims."""
    chunks = list(shape)
    for dim in range(len(chunks)):
        if np.prod(chunks, dtype=np.int64) * itemsize <= _CHUNK_BYTES:
            break
        rest = max(1, int(np.prod(chunks[dim + 1 :], dtype=np.int64)) * itemsize)
        chunks[dim] = max(1, min(chunks[dim], _CHUNK_BYTES // rest))
    return tuple(max(1, size) for size in chunks)


def _attributes(path: Path) -> dict[str, Any]:
    try:
        found = files.read_json(path / "zarr.json") or {}
    except StoreError:  # it can be made anew from the parts
        found = {}
    return found.get("attributes", {})
