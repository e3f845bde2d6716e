"""A cube needs nothing of iclkit to be read."""

import subprocess
import sys

from iclkit import engine

READER = """
import sys, warnings
warnings.simplefilter("error")
sys.modules["iclkit"] = None  # as if it were not installed
import numpy as np
import xarray as xr
ds = xr.open_zarr(sys.argv[1]).load()
assert ds["status"].attrs["flag_meanings"] == "pending done failed" and (ds["status"] == 1).all()
for name in ("loss", "excess", "regret", "floor"):
    array = ds[name]
    assert array.attrs["units"] == "nat" and array.attrs["long_name"] and array.attrs["metric"] == "loss", name
    assert array.attrs["ancillary_variables"] == f"{name}_se" and ds[f"{name}_se"].dims == array.dims, name
assert ds["wall_time"].attrs["units"] == "s" and ds["peak_memory"].attrs["units"] == "byte"
assert ds.sizes["seed"] == 2 and ds["topics"].values.tolist() == [2.0, np.inf]
assert ds["loss"].dims == ("seed", "topics", "step", "split", "position")
assert ds["position"].values.tolist() == list(range(1, 9))
assert np.isnan(ds["loss"].sel(topics=np.inf, split="sequences")).all()
assert "torch" in ds.attrs["versions"] and ds.attrs["Conventions"] and "coins" in ds.attrs["config"]
assert ds["excess_reference"].sel(seed=0, topics=2, split="sequences").item() == "mixture"
assert float(ds["train_flops"].max()) == 6 * float(ds["parameters"]) * float(ds["tokens_seen"].max())
"""


def test_a_cube_opens_in_plain_xarray_without_a_warning(tiny, planned, found):
    tiny["sweep"] = {"seed": [0, 1], "data.topics": [2, "fresh"]}
    made = planned(tiny)
    engine.run(made, found).check()
    command = [sys.executable, "-c", READER, str(made.folder / "cube.zarr")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
