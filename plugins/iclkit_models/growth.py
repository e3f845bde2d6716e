"""Start a large transformer from the weights of a small one: operators that differ in where blocks go.

- copy-pad: block i goes to block i; the blocks beyond stay as initialised.
- stack: the small model's blocks one after the other, again and again (StackBERT, Gong et al. 2019).
- interleave: each block several times in a row (MSLT, Yang et al. 2020).
- identity-block: as copy-pad, but the blocks beyond write nothing at first: what the model computes is preserved.

The first three also grow widths: a small tensor becomes the leading part of the large one, the rest stays as
initialised. Queries, keys and values, and the halves of a gated MLP, each lead in their own part, so that heads go to
heads where both models have the same channels per head, and the same sharing of keys and values. Weights do not tell
how many heads read them: keep the number of heads where the operator should preserve the function.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from iclkit.api import ConfigError, Problem

OPERATORS = ("copy-pad", "stack", "interleave", "identity-block")

Weights = Mapping[str, Tensor]


def grow(small: Weights, large: Weights, operator: str) -> dict[str, Tensor]:
    """Return weights of the large model made of the small one's; both are state dicts, not changed.

    Raises ConfigError for an unknown operator, and where the small model has something the large one has no room for.
    """
    if operator not in OPERATORS:
        raise ConfigError([Problem("prior.grow", f'unknown operator "{operator}"; allowed: {", ".join(OPERATORS)}')])
    depth, target = _blocks(small), _blocks(large)
    _check(small, large, operator)
    grown = {}
    for name, value in large.items():
        block = _block(name)
        if block is None:
            grown[name] = _lead(name, small, large, name)
            continue
        if operator == "stack":
            source: int | None = block % depth
        elif operator == "interleave":
            source = block * depth // target
        else:
            source = block if block < depth else None
        if source is not None:
            grown[name] = _lead(name, small, large, name.replace(f".{block}.", f".{source}.", 1))
        else:
            writes = operator == "identity-block" and re.search(r"\.(attention\.project|mlp\.2)\.", name)
            grown[name] = torch.zeros_like(value) if writes else value.clone()
    return grown


def _block(name: str) -> int | None:
    """Return the number of the block a tensor belongs to; None outside the blocks."""
    found = re.match(r"blocks\.(\d+)\.", name)
    return int(found.group(1)) if found else None


def _blocks(weights: Weights) -> int:
    return 1 + max(block for block in map(_block, weights) if block is not None)


def _check(small: Weights, large: Weights, operator: str) -> None:
    """Raise ConfigError where the operator cannot carry the small model over."""
    if _blocks(small) > _blocks(large):
        raise _problem(f"{_blocks(small)} blocks are more than the {_blocks(large)} of the model it should start")
    kinds = [{re.sub(r"^blocks\.\d+", "block", name) for name in weights} for weights in (small, large)]
    if kinds[0] != kinds[1]:
        raise _problem(f"differs from the model in more than its sizes: {min(kinds[0] ^ kinds[1])} is in one alone")
    for name, value in small.items():
        old, new = tuple(value.shape), tuple(large[name].shape)
        if any(a > b for a, b in zip(old, new, strict=True)):
            raise _problem(f"{name} of shape {old} does not fit into the {new} of the model it should start")
        if operator == "identity-block" and old != new and name != "positions":
            raise _problem(f"identity-block grows depth alone, but {name} grows from {old} to {new}")
    if operator == "identity-block" and "norm.weight" not in large:
        raise _problem('identity-block needs norm_place = "pre": a norm after the sum would change what passes')


def _problem(text: str) -> ConfigError:
    return ConfigError([Problem("prior.model", text)])


def _lead(name: str, small: Weights, large: Weights, source: str) -> Tensor:
    """Return a large tensor whose leading part, or that of each of its parts, is the small model's `source`."""
    grown = large[name].clone()
    parts = zip(
        grown.split(_parts(name, large)),
        small[source].split(_parts(source, small)),
        strict=True,
    )
    for part, value in parts:
        part[tuple(slice(size) for size in value.shape)] = value
    return grown


def _parts(name: str, weights: Weights) -> list[int]:
    """Return the lengths of the parts of a tensor's first axis that lie side by side in it."""
    rows = len(weights[name])
    if ".attention.queries_keys_values." in name:
        queries = weights[f"{name.partition('.attention.')[0]}.attention.project.weight"].shape[1]
        return [queries, (rows - queries) // 2, (rows - queries) // 2]
    if ".mlp.0." in name:
        hidden = weights[f"{name.partition('.mlp.')[0]}.mlp.2.weight"].shape[1]
        return [hidden] * (rows // hidden)  # one, or two of a gated MLP
    return [rows]
