"""What the loss says, in a sentence."""

import numpy as np
import xarray as xr


def sentence(data: xr.Dataset) -> str | None:
    """Say how far the trained models end above the exact optimum, and what the context is worth."""
    if "loss" not in data or not data.sizes.get("step"):
        return None
    last = data.isel(step=-1) if data["last_step"].ndim == 0 else _last(data)
    split = next((name for name in ("topics", "sequences") if name in data["split"].values), None)
    if split is None:
        return None
    chosen = last.sel(split=split)
    excess = chosen["excess"].mean("position") if "excess" in chosen else xr.DataArray(np.nan)
    if not np.isfinite(excess).any():
        return f"On {split}, no exact optimum is known to compare the loss with."
    loss = chosen["loss"].mean([dim for dim in chosen["loss"].dims if dim != "position"]).dropna("position")
    first, final = float(loss[0]), float(loss[-1])
    low, high = float(excess.min()), float(excess.max())
    spread = f"{low:.4f}" if excess.size == 1 else f"{low:.4f} to {high:.4f}"
    return (
        f"After training, the in-context loss falls from {first:.3f} to {final:.3f} nat over {loss.sizes['position']} "
        f"positions and is {spread} nat per token above the exact optimum (mean over positions, split {split})."
    )


def _last(data: xr.Dataset) -> xr.Dataset:
    return data.sel(step=data["last_step"])
