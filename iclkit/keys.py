"""Randomness as a function of the address, never of what was drawn before.

A `Key` is one or many 64-bit states. `fold` derives a new key from a word (a stream name, a topic number, a
sequence number); `uniform`, `normal` and `integers` read its counter-based stream. The generator is SplitMix64
(Steele, Lea and Flood, 2014) written in wrapping int64 tensor operations, so a draw is the same for any batch
size, rank, device or resume point: the bits are equal everywhere, and `uniform` is their exact image in [0, 1).

    >>> root = Key.root(0).fold("sequences")
    >>> one = root.fold(torch.tensor([7])).uniform(3)
    >>> many = root.fold(torch.arange(10)).uniform(5)
    >>> bool((many[7, :3] == one[0]).all())
    True
"""

import hashlib
import math
from typing import Any

import torch
from torch import Tensor

_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


class Key:
    """A tensor of generator states, int64 of any shape; draws append their own dimensions to that shape."""

    __slots__ = ("states",)

    def __init__(self, states: Tensor):
        self.states = states

    @classmethod
    def root(cls, seed: int) -> "Key":
        """Return the scalar key of an integer seed."""
        return cls(_mix(torch.tensor(_signed(seed), dtype=torch.int64)))

    def fold(self, word: int | str | Tensor) -> "Key":
        """Derive a key by a word: a name, an integer, or an int64 tensor that broadcasts with the states."""
        if isinstance(word, str):
            word = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        if isinstance(word, int):
            word = torch.tensor(_signed(word), dtype=torch.int64)
        states = self.states.to(word.device) if self.states.ndim == 0 else self.states
        return Key(_mix(_mix(states + _GAMMA) ^ _mix(word.to(states.device) * _GAMMA)))

    def __getitem__(self, index: Any) -> "Key":
        return Key(self.states[index])

    def bits(self, *shape: int) -> Tensor:
        """Return int64 draws of shape (*states.shape, *shape); longer shapes begin with the shorter's draws."""
        count = math.prod(shape)
        counter = torch.arange(1, count + 1, dtype=torch.int64, device=self.states.device)
        return _mix(self.states[..., None] + counter * _GAMMA).reshape((*self.states.shape, *shape))

    def uniform(self, *shape: int) -> Tensor:
        """Return float64 draws in [0, 1), multiples of 2**-53, of shape (*states.shape, *shape)."""
        return _shift(self.bits(*shape), 11).to(torch.float64) * 2.0**-53

    def normal(self, *shape: int) -> Tensor:
        """Return float64 standard normal draws by inverting the distribution function.

        The bits are equal on every device; the inversion may differ in the last digit between devices.
        """
        return torch.special.ndtri(self.uniform(*shape) + 2.0**-54)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Return int64 draws in 0 .. high-1 (high below 2**31; the bias is below high * 2**-53)."""
        return (self.uniform(*shape) * high).to(torch.int64).clamp_(max=high - 1)

    def categorical(self, weights: Tensor, *shape: int) -> Tensor:
        """Return int64 draws from weights, a float64 tensor (n,) that need not be normalised."""
        edges = weights.cumsum(0)
        drawn = torch.searchsorted(edges, self.uniform(*shape) * edges[-1], right=True)
        return drawn.clamp_(max=int(weights.nonzero().max()))


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift right without sign extension."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value
