"""A variable and its standard error, as `finish` returns them."""

from typing import Any

from numpy.typing import ArrayLike


def with_error(
    name: str, dims: tuple[str, ...], mean: ArrayLike, error: ArrayLike, units: str = "nat"
) -> dict[str, tuple[Any, ...]]:
    """Return {name: mean, name_se: error} for a Dataset."""
    told = {"units": units, "long_name": f"standard error of {name}"}
    return {name: (dims, mean, {"ancillary_variables": f"{name}_se"}), f"{name}_se": (dims, error, told)}
