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
    excess = chosen["excess"].mean("position")
    where = f"(mean over positions, split {known[0]})"
    if excess.size > 1:
        low, high, cells = float(excess.min()), float(excess.max()), int(excess.notnull().sum())
        return (
            f"After training, the in-context loss of {cells} cells is {low:.3g} to {high:.3g} nat per token above the "
            f"exact optimum {where}."
        )
    loss = chosen["loss"].squeeze().dropna("position") if chosen.sizes["position"] > 1 else chosen["loss"].squeeze()
    first, final = float(np.ravel(loss)[0]), float(np.ravel(loss)[-1])
    return (
        f"After training, the in-context loss goes from {first:.4g} to {final:.4g} nat over {loss.size} positions and "
        f"is {excess.item():.3g} nat per token above the exact optimum {where}."
    )


def _last(data: xr.Dataset) -> xr.Dataset:
    """Return each cell at its last step; cells that have none are NaN at every step."""
    return data.sel(step=data["last_step"].fillna(data["step"][0]).astype(data["step"].dtype))
