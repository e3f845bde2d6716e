"""What the loss says, in a sentence."""

import numpy as np
import xarray as xr


def sentence(data: xr.Dataset) -> str | None:
    """Say how far the trained models end above the exact optimum, and what the context is worth."""
    if "loss" not in data or not data.sizes.get("step"):
        return None
    last = _last(data)
    splits = [name for name in ("topics", "sequences") if name in data["split"].values]
    known = [name for name in splits if "excess" in last and np.isfinite(last["excess"].sel(split=name)).any()]
    if not known:
        return f"On {splits[0]}, no exact optimum is known to compare the loss with." if splits else None
    chosen = last.sel(split=known[0])
    loss = chosen["loss"].mean([dim for dim in chosen["loss"].dims if dim != "position"]).dropna("position")
    excess = chosen["excess"].mean("position")
    low, high = float(excess.min()), float(excess.max())
    spread = f"{low:.4f}" if excess.size == 1 else f"{low:.4f} to {high:.4f}"
    cells = "" if excess.size == 1 else f", the mean of {int(excess.notnull().sum())} cells,"
    return (
        f"After training, the in-context loss{cells} goes from {float(loss[0]):.3f} to {float(loss[-1]):.3f} nat over "
        f"{loss.sizes['position']} positions and is {spread} nat per token above the exact optimum "
        f"(mean over positions, split {known[0]})."
    )


def _last(data: xr.Dataset) -> xr.Dataset:
    """Return each cell at its last step; cells that have none are NaN at every step."""
    return data.sel(step=data["last_step"].fillna(data["step"][0]).astype(data["step"].dtype))
