"""What made a result: versions and machine, recorded and compared, never hashed into an identity."""

import importlib.metadata
import platform

_PACKAGES = ("iclkit", "torch", "numpy", "xarray", "zarr", "accelerate")


def versions() -> dict[str, str]:
    """Return the versions of iclkit, Python and the packages whose numbers enter results."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in _PACKAGES}


def machine() -> str:
    """Return the operating system and processor in a few words."""
    return f"{platform.system()} {platform.machine()}"
