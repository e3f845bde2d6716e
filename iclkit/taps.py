"""What a model computes inside: the outputs of the submodules that it names as its taps.

A module says by two attributes, {name: path of a submodule}, what can be read: `taps` for vectors (B, T, C), and
`attention_taps` for attention weights (B, H, T, T), which run after its method `explicit_attention()`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import Module, functional

from iclkit.errors import NotApplicable
from iclkit.heads import ModulePredictor
from iclkit.predictors import Memo, Predictor
from iclkit.protocols import Batch


def activations(
    predictor: Predictor, batch: Batch, names: Iterable[str] | None = None, attention: bool = False
) -> dict[str, Tensor]:
    """Run a trained model once over a batch and return what its taps gave, by name, in the order of its taps.

    Returns float32 tensors (B, T, C) on the CPU, or with `attention` the attention weights instead, (B, H, T, T),
    query position before key position. Position l is the input at which the model predicts x_l: it has read
    x_1 .. x_{l-1}. A model without begin token has no input at position 1: its vectors and its row of attention are
    NaN there, and nothing attends to it.

    Parameters
    ----------
    predictor : the trained model, such as `batch.model` of a metric.
    batch : the sequences.
    names : the taps to read; all if absent.
    attention : whether to read attention weights.

    Raises NotApplicable where the predictor has no taps of this kind, or none of a name.

    """
    model = _model(predictor)
    wanted = _wanted(model.module, names, attention)
    seen: dict[str, Tensor] = {}
    with _listening(model.module, wanted, seen), _explicit(model.module, attention):
        model.output(batch)
    silent = wanted.keys() - seen.keys()
    if silent:
        raise NotApplicable(f"{type(model.module).__name__} did not run its taps {', '.join(sorted(silent))}")
    return {name: _aligned(seen[name], model.bos, attention) for name in wanted}


def _model(predictor: Predictor) -> ModulePredictor:
    inner = predictor.predictor if isinstance(predictor, Memo) else predictor
    if not isinstance(inner, ModulePredictor):
        raise NotApplicable(f"{type(inner).__name__} is no torch module, so nothing can be read inside it")
    return inner


def _wanted(module: Module, names: Iterable[str] | None, attention: bool) -> dict[str, str]:
    """Return {name: path} of the taps to read, in the module's order."""
    told: Mapping[str, str] = getattr(module, "attention_taps" if attention else "taps", {})
    if not told:
        what = "attention weights" if attention else "vectors"
        raise NotApplicable(f"{type(module).__name__} names no taps that give {what}")
    chosen = set(told if names is None else names)
    unknown = sorted(chosen - told.keys())
    if unknown:
        raise NotApplicable(f"{type(module).__name__} has no tap {', '.join(unknown)}; it has: {', '.join(told)}")
    return {name: path for name, path in told.items() if name in chosen}


@contextmanager
def _listening(module: Module, wanted: Mapping[str, str], seen: dict[str, Tensor]) -> Iterator[None]:
    """Note down what submodules return; of several values the first, as recurrent layers have it."""

    def note(name: str) -> Callable[..., None]:
        def hook(_: Module, __: object, output: Tensor | tuple[Tensor, ...]) -> None:
            seen[name] = (output[0] if isinstance(output, tuple) else output).detach().float().cpu()

        return hook

    handles = [module.get_submodule(path).register_forward_hook(note(name)) for name, path in wanted.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _explicit(module: Module, wanted: bool) -> Iterator[None]:
    """Let attention be computed step by step, and fused again afterwards."""
    if not wanted:
        yield
        return
    module.explicit_attention()  # type: ignore[operator]
    try:
        yield
    finally:
        module.explicit_attention(False)  # type: ignore[operator]


def _aligned(values: Tensor, bos: bool, attention: bool) -> Tensor:
    """Return values with an entry for position 1, which has no input without begin token."""
    if bos:
        return values
    if attention:
        values = functional.pad(values, (1, 0))
    return functional.pad(values, (0, 0, 1, 0), value=torch.nan)
