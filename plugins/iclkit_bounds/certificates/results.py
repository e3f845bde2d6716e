"""From records to the variables of the cube, and the digests that say which weights a record is about."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from iclkit.api import MeasuredCell, NotApplicable
from iclkit_bounds.certificates.references import number
from iclkit_bounds.certificates.targets import TARGETS, Target
from iclkit_bounds.record import Certificate

SETTINGS = "holds for settings, such as smoothing and noise, that were chosen before the training data were looked at"


def variables(name: str, record: Certificate, **further: Any) -> xr.Dataset:
    """Return what every certificate stores, under its own name, and further variables of it."""
    known = record.references
    made = {
        name: record.value,
        f"{name}_valid": float(record.valid),
        f"{name}_share": np.nan if record.share is None else record.share,
        f"{name}_population": number(known, "population_mc"),
        f"{name}_population_se": number(known, "population_mc", "se"),
        f"{name}_lower": number(known, "bayes_lower"),
        f"{name}_record": record.to_json(),
    }
    return xr.Dataset(made).assign({f"{name}_{end}": value for end, value in further.items()})


def by_target(name: str, config: Any, certify: Callable[[Target], xr.Dataset]) -> xr.Dataset:
    """Return the certificates for all `config.targets`; what is not possible for one is told in its record.

    Raises NotApplicable where none is possible.
    """
    data, why = [], ""
    for target in map(TARGETS.__getitem__, config.targets):
        try:
            data.append(certify(target))
        except NotApplicable as reason:
            why = why or str(reason)
            data.append(variables(name, _impossible(name, target, config.delta, str(reason))))
    if not any(np.isfinite(made[name]).any() for made in data):
        raise NotApplicable(why)
    return along("target", list(config.targets), data)


def _impossible(name: str, target: Target, delta: float, reason: str) -> Certificate:
    return Certificate(
        estimator=name.replace("_", "-"),
        target=target.code,
        unit=target.unit,
        n_units=0,
        value=np.nan,
        delta=delta,
        delta_ledger={"units": delta},
        checks={"units_left_out": False},
        reasons={"units_left_out": reason},
        data_used="train-only",
        certified_object="weights",
        object_hash="",
    )


def along(dim: str, labels: list[Any], data: list[xr.Dataset]) -> xr.Dataset:
    """Join Datasets along a new dim."""
    return xr.concat(data, dim=dim, coords="minimal", compat="equals", join="outer").assign_coords({dim: labels})


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of a state dict's bytes."""
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(name.encode())
        total.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]


def weights_of(cell: MeasuredCell, step: int) -> dict[str, Tensor]:
    """Return copies of a snapshot's parameters, each once; NotApplicable for a predictor that is no torch module."""
    module = getattr(cell.models[step], "module", None)
    if module is None:
        raise NotApplicable("what was measured is no torch module, so it has no weights to certify")
    return {name: value.detach().cpu().clone() for name, value in module.named_parameters()}
