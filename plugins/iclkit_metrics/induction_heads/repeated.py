"""Random sequences that repeat themselves, and where an induction head looks in them."""

import torch
from torch import Tensor

from iclkit.api import Batch, Key

_LONGEST = 25  # tokens in a block by default (Olsson et al. 2022)


def block_length(wanted: int | None, repeats: int, size: int, length: int) -> int:
    """Return how many tokens are repeated; raises ValueError where they do not fit.

    `size` is the vocabulary, of which a block has no token twice; `length` is what a model has been shown.
    """
    most = min(size, length // repeats)
    block = min(most, _LONGEST) if wanted is None else wanted
    if size < 4 or not 2 <= block <= most:
        fits = f"at most {most}" if most >= 2 else "none"
        text = f"a block of {'2 or more' if wanted is None else wanted} different tokens repeated {repeats} times"
        raise ValueError(
            f"{text} needs a vocabulary of that size, of 4 at least, and as many positions; with a vocabulary of "
            f"{size} and {length} positions there fits {fits}"
        )
    return block


def repeated(block: int, repeats: int, size: int, count: int, key: Key) -> tuple[Batch, Tensor]:
    """Make `count` sequences, int64 tokens (count, block * repeats): uniform different tokens, repeated.

    Each has a block length of its own, from half of `block` up to it, so that a head which looks back by a fixed
    number of positions scores little. A sequence is a function of its number. Returns the batch and the block lengths,
    int64 (count,).
    """
    number = torch.arange(1, count + 1)
    own = key.fold(number)
    shortest = max(2, -(-block // 2))
    span = shortest + own.fold("length").integers(block - shortest + 1, 1)  # (count, 1)
    place = torch.arange(block * repeats) % span
    tokens = own.fold("block").uniform(size).argsort(dim=1).gather(1, place)
    batch = Batch(
        tokens=tokens, mask=torch.ones_like(tokens, dtype=torch.bool), topics=None, topic=number * 0, number=number
    )
    return batch, span.squeeze(1)


def targets(spans: Tensor, length: int) -> Tensor:
    """Return where an induction head looks, bool (n, T, T), [sequence, query, key], for blocks of `spans` (n,) tokens.

    Query l has read x_1 .. x_{l-1} and key m holds x_{m-1}. The present token x_{l-1} came r blocks before, as
    x_{l-1-rB}, and what followed it then is held by key l - rB + 1. Queries that have nowhere to look have empty rows.
    """
    position = torch.arange(length)
    query, key, span = position[:, None], position[None], spans[:, None, None]
    return ((query - key + 1) % span == 0) & (key < query) & (key >= 2) & (query > span)


def held(tokens: Tensor) -> Tensor:
    """Return the token that each key holds, (B, T); key 1 holds the begin token, told as -1."""
    return torch.nn.functional.pad(tokens[:, :-1], (1, 0), value=-1)
