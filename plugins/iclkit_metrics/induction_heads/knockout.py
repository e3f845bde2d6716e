"""A model without one of its attention heads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn import Module


@contextmanager
def without_head(module: Module, path: str, head: int) -> Iterator[None]:
    """Let a head attend to nothing: its attention weights (B, H, T, T), which `path` gives, are 0."""

    def silence(_: Module, __: object, output: Any) -> Any:
        first: Tensor = output[0] if isinstance(output, tuple) else output
        silent = first.clone()
        silent[:, head] = 0
        return (silent, *output[1:]) if isinstance(output, tuple) else silent

    handle = module.get_submodule(path).register_forward_hook(silence)
    module.explicit_attention()  # type: ignore[operator]
    try:
        yield
    finally:
        handle.remove()
        module.explicit_attention(False)  # type: ignore[operator]
