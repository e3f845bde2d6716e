"""What follows from the averages: gaps of generalisation and relative loss."""

import xarray as xr

from iclkit.api import Categorical, MeasuredCell
from iclkit_metrics.with_error import with_error

_AVERAGES = ("step", "first_position")


def gaps(cell: MeasuredCell) -> xr.Dataset:
    """Return the gaps between the three losses, by step and first position; one is left out where a loss is.

    Splits are independent samples, so the variances of their means add up (where topics are listed, and two splits
    share sequences, the error is too large rather than too small).
    """
    made = xr.Dataset()
    if "oracle_kl" not in cell.data:
        return made
    upper = cell.data["oracle_kl"], cell.data["oracle_kl_se"]
    empirical = cell.data["log_ratio"], cell.data["log_ratio_se"]
    for name, above, below in (
        ("sequence_gap", (upper, "sequences"), (empirical, "train")),
        ("topic_gap", (upper, "topics"), (upper, "sequences")),
    ):
        if above[1] in cell.splits and below[1] in cell.splits:
            high, high_error, low, low_error = (
                part.sel(split=split, drop=True).transpose(*_AVERAGES)
                for pair, split in (above, below)
                for part in pair
            )
            error = (high_error**2 + low_error**2) ** 0.5
            made = made.assign(with_error(name, _AVERAGES, (high - low).values, error.values))
    return made.assign_coords({name: cell.data[name].values for name in _AVERAGES} if made.data_vars else {})


def relative_loss(cell: MeasuredCell) -> xr.Dataset:
    """Return c_l / h_l - 1, the excess in units of the optimum's floor; NaN where that is not positive.

    It is left out for real tokens, whose entropy may be negative, and where no split has an optimum.
    """
    data = cell.data
    if "excess" not in data or not isinstance(cell.facts.space, Categorical):
        return xr.Dataset()
    kept = [split for split in cell.splits if cell.optimum[split]]
    names = xr.DataArray([cell.optimum[split] for split in kept], dims="split", coords={"split": kept})
    floor, floor_error = (data[name].sel(split=kept).sel(reference=names, drop=True) for name in ("floor", "floor_se"))
    floor = floor.where(floor > 0)
    relative = data["excess"].sel(split=kept) / floor
    error = ((data["excess_se"].sel(split=kept) / floor) ** 2 + (relative * floor_error / floor) ** 2) ** 0.5
    dims = ("step", "split", "position")
    made = with_error("relative_loss", dims, relative.transpose(*dims).values, error.transpose(*dims).values, units="1")
    return xr.Dataset(made, coords={"step": data["step"], "split": kept, "position": data["position"]})
