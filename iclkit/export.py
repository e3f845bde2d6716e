"""Trained models leave the house: a folder of weights and what rebuilds the module, and what the module computes.

- `iclkit.json` says what the model is: kind, settings, token space, context, begin token, where it comes from.
- `weights.safetensors` holds its state dict.
- `activations.safetensors`, on request, what its taps gave on evaluation sequences.
- Further files are those of other tools, where the model knows their form (`ModelSpec.exports`).

Nothing is pickled, and all writes are atomic.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import safetensors.torch
import torch
from attrs import frozen
from torch import Tensor
from torch.nn import Module

from iclkit import files, provenance
from iclkit.config import Config
from iclkit.data import TrainingSequences
from iclkit.errors import ConfigError, NotApplicable, StoreError, UsageError
from iclkit.heads import ModulePredictor
from iclkit.modules import build_module
from iclkit.plugins import Plugins
from iclkit.protocols import Batch
from iclkit.registry import Provider
from iclkit.snapshots import TrainingFolder
from iclkit.spaces import Categorical, Real, Space
from iclkit.specs import Component, resolve
from iclkit.splits import chunk_rows, splits
from iclkit.strict import Problems, Structurer, below
from iclkit.taps import activations

ABOUT, WEIGHTS, ACTIVATIONS = "iclkit.json", "weights.safetensors", "activations.safetensors"
ATTENTION = "attention."
"""What stands before the tap's name where its values are attention weights."""

_LARGEST = 4 << 30  # bytes of activations: all of them are in memory before they are written


@frozen(kw_only=True)
class TrainedModel:
    """A training's weights at a step: the config of a cell that it serves, where it stands, who made its model."""

    config: Config
    identity: Mapping[str, Any]
    folder: TrainingFolder
    step: int
    provider: Provider

    @property
    def training(self) -> str:
        """The training's id."""
        return self.folder.path.name

    def weights(self) -> dict[str, Tensor]:
        """Read its state dict; raises StoreError if the snapshot is gone."""
        return self.folder.weights(self.step)


def write_model(model: TrainedModel, folder: Path) -> list[str]:
    """Write the model into a folder; return why files of other tools are missing, where they are.

    Raises StoreError where the folder holds something else.
    """
    component, space, context = model.config.model, model.config.source.facts.space, model.config.context
    weights, about = model.weights(), _about(model)
    _refuse_other(folder, about)
    files.write_json(folder / ABOUT, about)
    files.write_bytes(folder / WEIGHTS, safetensors.torch.save(weights, metadata={"format": "pt"}))
    if component.spec.exports is None:
        return []
    try:
        made = resolve(component.spec.exports)(component.config, space, context, weights)
    except NotApplicable as reason:
        return [str(reason)]
    for name, content in made.items():
        files.write_bytes(folder / name, content)
    return []


def load(folder: Path, plugins: Plugins) -> Module:
    """Build the module of a folder with its weights; see `iclkit.load_model`."""
    about = files.read_json(folder / ABOUT)
    if about is None:
        raise StoreError(f"{folder} holds no {ABOUT}; `iclkit export RUN CELL` makes such a folder")
    table = about["model"]
    try:
        component = Structurer(plugins.registry, folder.resolve()).component("model", table["config"])
    except Problems as found:
        raise ConfigError(below("model", found.problems)) from None
    if (component.spec.revision, component.origin) != (table["revision"], table["file"]):
        warnings.warn(
            f"the model {component.kind} has changed since {folder} was written (by {about['plugin']}): "
            "with the same weights it may compute something else",
            stacklevel=3,
        )
    with torch.random.fork_rng(devices=()):  # the weights drawn here are replaced
        module = component.build(_space(about["space"]), about["context"])
    path = folder / WEIGHTS
    try:
        module.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, safetensors.SafetensorError, RuntimeError) as error:
        brief = " ".join(str(error).split())
        raise StoreError(f"{path} cannot be loaded ({brief}); export the model again") from None
    return module.eval()


def write_activations(
    model: TrainedModel, folder: Path, names: Sequence[str], split: str | None, sequences: int
) -> Path:
    """Write what the taps gave on sequences of a split, spread evenly over its topics; return the file.

    Float32, by the name of the tap: vectors (n, T, C), and attention weights (n, H, T, T) with `attention.` in front;
    position l is the input at which x_l is predicted. With them tokens, mask (n, T), topic and sequence numbers (n,),
    and the exact beliefs, float64, of sources that have them.

    Parameters
    ----------
    names : the taps to read; all if empty.
    split : its name; `sequences` where there is one, else `topics`, if absent.
    sequences : how many at most.

    Raises UsageError for an unknown split or too much data, NotApplicable for what the model does not show.

    """
    config = model.config
    source = config.source.build()
    found = {one.name: one for one in splits(config, source, TrainingSequences(config, source))}
    name = split or ("sequences" if "sequences" in found else "topics")
    if name not in found:
        raise UsageError(f'no split is called "{name}"; there are: {", ".join(found)}')
    chosen = found[name]
    count = min(sequences, len(chosen))
    rows = torch.arange(count) * len(chosen) // count
    module = build_module(config)
    module.load_state_dict(model.weights())
    predictor = ModulePredictor(module, config.source.facts, config.data.bos)
    chunks = [slice(0, 1), *chunk_rows(count, config.evaluation_length)]  # one alone, for its size
    gathered: dict[str, list[Tensor]] = {}
    for chunk in chunks:
        batch = chosen.sampler.batch(chosen.topic[rows[chunk]], chosen.number[rows[chunk]])
        made = {
            "tokens": batch.tokens,
            "mask": batch.mask,
            "topic": batch.topics.numbers[batch.topic],
            "number": batch.number,
        }
        if hasattr(source, "beliefs"):
            made["beliefs"] = source.beliefs(batch)
        made |= _read(predictor, batch, names)
        if chunk is chunks[0]:
            _refuse_too_much(made, count)
            continue
        for key, values in made.items():
            gathered.setdefault(key, []).append(values)
    arrays = {key: torch.cat(parts).contiguous() for key, parts in gathered.items()}
    about = {"training": model.training, "step": str(model.step), "split": name}
    files.write_bytes(folder / ACTIVATIONS, safetensors.torch.save(arrays, metadata={"format": "pt", **about}))
    return folder / ACTIVATIONS


def _read(predictor: ModulePredictor, batch: Batch, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the chosen taps, or all there are, attention included."""
    vectors = [name for name in names if not name.startswith(ATTENTION)]
    weights = [name.removeprefix(ATTENTION) for name in names if name.startswith(ATTENTION)]
    read = activations(predictor, batch, vectors or None) if vectors or not names else {}
    if weights or (not names and getattr(predictor.module, "attention_taps", None)):
        attention = activations(predictor, batch, weights or None, attention=True)
        read |= {f"{ATTENTION}{name}": values for name, values in attention.items()}
    return read


def _refuse_too_much(one: Mapping[str, Tensor], count: int) -> None:
    size = count * sum(values.numel() * values.element_size() for values in one.values())
    if size > _LARGEST:
        raise UsageError(
            f"{count} sequences would take {size / 2**30:.1f} GiB, more than the {_LARGEST >> 30} GiB allowed; ask for "
            "fewer --sequences, or for some --taps only"
        )


def _about(model: TrainedModel) -> dict[str, Any]:
    config, facts = model.config, model.config.source.facts
    return {
        "model": {
            "config": {"kind": config.model.kind, **_plain(_portable(config.model))},
            "revision": config.model.spec.revision,
            "file": config.model.origin,
        },
        "plugin": str(model.provider),
        "space": {"kind": type(facts.space).__name__.lower(), **attrs.asdict(facts.space)},
        "context": config.context,
        "bos": config.data.bos,
        "noise": facts.noise,
        "training": {
            "id": model.training,
            "step": model.step,
            "tokens_seen": model.folder.tokens_seen(model.step),
            "identity": model.identity,
        },
        "versions": provenance.versions(),
    }


def _portable(model: Component) -> Any:
    """Return a model's config, without the files of this machine where it knows how."""
    return model.config if model.spec.portable is None else resolve(model.spec.portable)(model.config)


def _plain(value: Any) -> Any:
    """Return a config value as it would stand in a config file; what is None is left out."""
    if isinstance(value, Component):
        return {"kind": value.kind, **_plain(value.config)}
    if attrs.has(type(value)):
        fields = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
        return {name: _plain(item) for name, item in fields.items() if item is not None}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _space(table: Mapping[str, Any]) -> Space:
    if table["kind"] == "categorical":
        return Categorical(table["size"])
    return Real(table["dim"], table["scored"])


def _refuse_other(folder: Path, about: Mapping[str, Any]) -> None:
    """Raise StoreError where a folder holds anything but an earlier export of the same weights."""
    there = files.read_json(folder / ABOUT)
    if there is None and folder.is_dir() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty and holds no export; choose another folder with --out")
    if there is not None and [there["training"][key] for key in ("id", "step")] != [
        about["training"][key] for key in ("id", "step")
    ]:
        what = f"step {there['training']['step']} of training {there['training']['id']}"
        raise StoreError(f"{folder} holds {what}; choose another folder with --out, or remove this one")
