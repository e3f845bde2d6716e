"""Training in a random subspace: theta = theta_0 + P z with few coordinates z, which are cheap to write down.

After Li et al. (2018). P is a function of its key's address, so that a code need hold only z and the key is public:
entries +-1/sqrt(D), one row of signs for each of the D weights; a subspace of more dimensions begins with the
columns of a smaller one. The coordinates are written with `compression.quantise({"z": z}, bits)`; a dimension that was
not fixed beforehand costs `compression.integer_bits(dimension)` bits more, and one key out of M log2 M.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from iclkit.api import Key

_CHUNK = 1 << 22  # signs made at a time


class Subspace:
    """A random subspace of `dimension` directions through public weights.

    Parameters
    ----------
    start : theta_0, float tensors by name, fixed before training.
    dimension : number of coordinates z.
    key : where the directions come from; public.

    """

    def __init__(self, start: Mapping[str, Tensor], dimension: int, key: Key):
        if dimension < 1:
            raise ValueError(f"a subspace has at least one dimension, not {dimension}")
        self.start = {name: start[name].detach() for name in sorted(start)}
        self.dimension, self._key = dimension, key.fold("subspace")
        self.size = sum(tensor.numel() for tensor in self.start.values())

    def weights(self, coordinates: Tensor) -> dict[str, Tensor]:
        """Return theta_0 + P z by name, in the types of theta_0; z is float (dimension,)."""
        z = coordinates.double()
        away = torch.cat([signs @ z for signs in self._rows()]) / self.size**0.5
        pieces = away.split([tensor.numel() for tensor in self.start.values()])
        return {
            name: (tensor.double() + piece.view_as(tensor)).to(tensor.dtype)
            for (name, tensor), piece in zip(self.start.items(), pieces, strict=True)
        }

    def pulled_back(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Return P^T g, the gradient in the coordinates z, float64 (dimension,), from gradients by name."""
        flat = torch.cat([gradients[name].detach().double().reshape(-1) for name in self.start])
        total, row = torch.zeros(self.dimension, dtype=torch.float64), 0
        for signs in self._rows():
            total += signs.T @ flat[row : row + len(signs)]
            row += len(signs)
        return total / self.size**0.5

    def _rows(self) -> Iterator[Tensor]:
        """Yield the signs of the weights, float64 (rows, dimension), some rows at a time."""
        words = -(-self.dimension // 64)
        rows = max(1, _CHUNK // (64 * words))
        for first in range(0, self.size, rows):
            numbers = torch.arange(first, min(first + rows, self.size))
            bits = self._key.fold(numbers).bits(words)[..., None] >> torch.arange(64)  # (rows, words, 64)
            yield ((bits & 1) * 2 - 1).flatten(1)[:, : self.dimension].double()
