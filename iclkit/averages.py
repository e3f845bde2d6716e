"""What a pass has averaged so far, by variable, split and step, and the Dataset it ends as."""

from typing import Any

import numpy as np
import xarray as xr

from iclkit.reduction import Array, Reducer
from iclkit.specs import Component, Variable
from iclkit.splits import Split


class Averages:
    """The reducers of one metric on all splits and steps.

    Parameters
    ----------
    metric : whose values they are.
    splits, steps, references : names along these dims, in order.

    """

    def __init__(self, metric: Component, splits: list[str], steps: list[int], references: list[str]):
        self._metric = metric
        self._coords: dict[str, list[Any]] = {"split": splits, "step": steps, "reference": references}
        self._reducers: dict[tuple[str, str, int | None], Reducer] = {}

    def add(self, name: str, split: Split, step: int | None, values: Array, groups: np.ndarray) -> None:
        """Reduce the values of one chunk, float64 (b, ...), of sequences of these groups, int64 (b,)."""
        key = name, split.name, step
        if key not in self._reducers:
            self._reducers[key] = split.reducer()
        self._reducers[key].add(values, groups)

    def dataset(self, made_metric: Any) -> xr.Dataset:
        """Return every variable with its standard error and coordinates, named as in the cube.

        The built metric names the labels of dims of its own.
        """
        made: dict[str, Any] = {}
        for variable in self._metric.spec.variables:
            found = {key[1:]: reducer.result() for key, reducer in self._reducers.items() if key[0] == variable.name}
            if not found:
                continue
            name, about = self._metric.variable(variable.name), describe(self._metric, variable)
            mean = self._placed(variable, {key: result[0] for key, result in found.items()})
            error = self._placed(variable, {key: result[1] for key, result in found.items()})
            made[name] = variable.dims, mean, about | {"ancillary_variables": f"{name}_se"}
            told = {"long_name": f"standard error of {variable.long_name}"}
            made[f"{name}_se"] = variable.dims, error, about | told
        data = xr.Dataset(made)
        labels = self._coords | dict(getattr(made_metric, "coords", {}))
        coords = {name: list(values) for name, values in labels.items() if name in data.dims}
        if "position" in data.dims:
            coords["position"] = list(range(1, data.sizes["position"] + 1))
        return data.assign_coords(coords)

    def _placed(self, variable: Variable, results: dict[tuple[str, int | None], Array]) -> Array:
        """Stack results by step and split, NaN where there is none, in the order of the variable's dims."""
        steps = self._coords["step"] if "step" in variable.dims else [None]
        blank = np.full(next(iter(results.values())).shape, np.nan)
        stacked = np.array([[results.get((split, step), blank) for split in self._coords["split"]] for step in steps])
        if "step" not in variable.dims:
            stacked = stacked[0]
        given = [dim for dim in ("step", "split") if dim in variable.dims]
        now = given + [dim for dim in variable.dims if dim not in given]
        return stacked.transpose([now.index(dim) for dim in variable.dims])


def describe(metric: Component, variable: Variable | None) -> dict[str, str]:
    """Return the attributes of a variable: what it is, and which metric made it."""
    about = {"metric": metric.kind, "role": metric.spec.role, "revision": str(metric.spec.revision)}
    return about | ({"units": variable.units, "long_name": variable.long_name} if variable else {})
