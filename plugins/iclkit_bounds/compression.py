"""Description length: weights that can be written in few bits cannot have learned much by chance.

A prefix-free code fixed beforehand, of length l(theta) bits, is a prior of 2^-l(theta) (Kraft). By a union over all
that it can write, any bound for a fixed predictor holds for all of them at a cost of l(theta) ln 2 nats; nothing is
drawn and no data are held out. What is certified is the decoded, quantised network, never the one it came from.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from attrs import frozen
from numpy.typing import ArrayLike
from torch import Tensor

from iclkit_bounds import bernstein, betting
from iclkit_bounds.units import Array, checked, checked_delta

_GRID_BITS = 64  # lowest value and step of a tensor's grid, float32 each


@frozen(kw_only=True, eq=False)
class Quantised:
    """Weights as they come out of the code, and its length.

    Parameters
    ----------
    weights : decoded tensors by name, float32: what is to be evaluated and certified.
    bits : length of the code that wrote them, all settings included.

    """

    weights: dict[str, Tensor]
    bits: float

    @property
    def cost(self) -> float:
        """The length in nats."""
        return self.bits * math.log(2)


def quantise(weights: Mapping[str, Tensor], bits: int, start: Mapping[str, Tensor] | None = None) -> Quantised:
    """Write every tensor on a uniform grid of 2^bits values between its extremes, and read it back.

    The code: `bits` itself (`integer_bits`); for each tensor, in the order of the names and with shapes that the
    architecture fixes, lowest value and step as float32, then, unless the step is 0, one bit that tells the coder and
    the grid indices, each in `bits` bits or all by an adaptive arithmetic code (`adaptive_bits`), the shorter one.

    Parameters
    ----------
    weights : float tensors by name.
    bits : 1 .. 16, bits of an index.
    start : public weights, fixed before training (its initial weights, or a prior of other data): the differences
        from them are written. None: zeros.

    Raises ValueError for a tensor that is not of finite floats: everything that was learned must be in the code.

    """
    if not 1 <= bits <= 16:
        raise ValueError(f"bits must lie in 1 .. 16, not be {bits}")
    decoded, length = {}, float(integer_bits(bits))
    for name in sorted(weights):
        tensor = weights[name].detach().cpu()
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise ValueError(f"{name} must hold finite floats; a constant of the architecture is to be left out")
        base = torch.zeros_like(tensor, dtype=torch.float32) if start is None else start[name].detach().cpu().float()
        read, tensor_bits = _on_grid(tensor.double() - base.double(), bits)
        decoded[name], length = base + read, length + tensor_bits
    return Quantised(weights=decoded, bits=length)


def _on_grid(values: Tensor, bits: int) -> tuple[Tensor, float]:
    """Return values as read back, float32, and the length of their code in bits."""
    if values.numel() == 0:
        return values.float(), 0.0
    top = 2**bits - 1
    low = values.min().float()
    step = ((values.max() - low.double()) / top).float()
    if step == 0:  # the reader knows from the step that there is nothing to read
        return low.expand(values.shape).clone(), _GRID_BITS
    indices = ((values - low.double()) / step.double()).round().clamp(0, top).long()
    counts = np.bincount(indices.reshape(-1).numpy(), minlength=top + 1)
    return low + step * indices.float(), _GRID_BITS + 1 + min(values.numel() * bits, adaptive_bits(counts))


def adaptive_bits(counts: ArrayLike) -> float:
    """Return the length in bits of an adaptive arithmetic code of symbols with these counts, (symbols,) integers.

    Laplace's rule of succession: -log2 [(A-1)! prod n_v! / (n+A-1)!], the probability of the sequence under a uniform
    prior over the A symbols' frequencies. Fractions of a bit are kept: only the prior 2^-length matters.
    """
    counts = torch.as_tensor(np.asarray(counts), dtype=torch.float64)
    symbols, total = len(counts), counts.sum()
    log = math.lgamma(symbols) + torch.lgamma(counts + 1).sum() - torch.lgamma(total + symbols)
    return -float(log) / math.log(2)


def integer_bits(n: int) -> int:
    """Return the length of Elias's delta code of an integer n >= 1, bits: prefix-free over all of them."""
    if n < 1:
        raise ValueError(f"the code writes integers of at least 1, not {n}")
    digits = n.bit_length()
    return digits - 1 + 2 * (digits.bit_length() - 1) + 1


def betting_limit(values: ArrayLike, upper: float, delta: float, bits: float) -> Array:
    """Return the betting bound at a cost of bits ln 2, float64 (...), nats per token.

    Statement: with probability at least 1 - delta over the n independent units it holds for every network that the
    code can write in its own number of bits. `values` (..., n): the decoded network's losses on the units it was
    trained on. Proof: union over the code's words, weights 2^-bits. Derived here.
    """
    return betting.upper_limit(values, upper, delta, bits * math.log(2))


def centred_limit(
    values: ArrayLike, centres: ArrayLike, upper: float, least_centre: float, delta: float, bits: float
) -> Array:
    """Return the centred Bernstein bound at a cost of bits ln 2, float64 (...), nats.

    Statement: as `betting_limit`. For single tokens too, with the losses of `token_mix` in their order, a martingale:
    it then bounds the mean over the *training prefixes* of the expected next loss, no population loss. `centres` (...,
    n): known before each value from the network and the past, such as its own predictive entropy; at least
    `least_centre`. Derived here, see `bernstein`.
    """
    return bernstein.centred(values, centres, upper, least_centre, delta, bits * math.log(2))


def azuma_limit(values: ArrayLike, upper: float, delta: float, bits: float, least: float = 0.0) -> Array:
    """Return X- + (upper - least) sqrt((bits ln 2 + ln(1/delta)) / 2n), at most `upper`; float64 (...), nats.

    Statement: as `centred_limit`, for independent units (Hoeffding 1963) and for tokens (Azuma 1967) alike.
    """
    losses = checked(values, upper, least)
    price = bits * math.log(2) + math.log(1 / checked_delta(delta))
    return np.minimum(losses.mean(-1) + (upper - least) * math.sqrt(price / (2 * losses.shape[-1])), upper)


def subsampled_limit(
    values: ArrayLike, units: int, upper: float, delta: float, bits: float, least: float = 0.0
) -> Array:
    """Return the bound where only s of the m units, drawn uniformly with replacement, were evaluated; nats.

    L_s + D [sqrt((bits ln 2 + ln(1/(r delta))) / 2m) + sqrt(ln(1/((1-r) delta)) / 2s)], r = s/(s+m), D the range
    (Lotfi et al. 2023, 2024). Statement: with probability at least 1 - delta over units and subsample. `values`
    (..., s): losses of the subsample; `units`: m.
    """
    losses = checked(values, upper, least)
    s = losses.shape[-1]
    share = s / (s + units)
    all_units = math.sqrt((bits * math.log(2) - math.log(share * checked_delta(delta))) / (2 * units))
    subsample = math.sqrt(-math.log((1 - share) * delta) / (2 * s))
    return np.minimum(losses.mean(-1) + (upper - least) * (all_units + subsample), upper)
