"""`iclkit export`: a trained model, and what it computes inside, as files for other tools."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iclkit.cli.options import load_run, plugin_option
from iclkit.errors import StoreError, UsageError

if TYPE_CHECKING:
    from iclkit.config import Config
    from iclkit.plan import Cell, Plan, Training
    from iclkit.sweep import Axis


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("cell", nargs=-1, metavar="[CELL]...")
@click.option("--step", type=int, metavar="S", help="The snapshot; the last one if absent.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder to write, instead of RUN/exports/<training>-<step>.",
)
@click.option("--activations", is_flag=True, help="Write what the model computes on evaluation sequences, too.")
@click.option("--taps", multiple=True, metavar="NAME", help="Read this tap alone; may be given more than once.")
@click.option("--split", metavar="SPLIT", help="The split to read; `sequences` if absent, `topics` where it is not.")
@click.option(
    "--sequences", type=click.IntRange(1), default=128, show_default=True, help="How many sequences to read at most."
)
@plugin_option
def command(
    run: Path,
    cell: tuple[str, ...],
    step: int | None,
    out: Path | None,
    activations: bool,
    taps: tuple[str, ...],
    split: str | None,
    sequences: int,
    plugin_files: tuple[Path, ...],
) -> None:
    """Write a trained model into a folder: weights (safetensors) and what rebuilds it (JSON).

    CELL is a place in the sweep, such as topics=4 seed=0, or the id of a training or its beginning, as
    `iclkit plan` shows them; it may be left out where the run has one training. `iclkit.load_model(DIR)` reads the
    model. Where its kind knows how, the files of another library are written too, such as a folder DIR/transformers.

    With --activations also what the model's taps give, attention weights (as attention.NAME) included.
    """
    if (taps or split) and not activations:
        raise UsageError("--taps and --split say what to read with --activations; give it too")
    plan, plugins = load_run(run, plugin_files=plugin_files)
    training, config = _chosen(plan, cell, measured=activations)
    from iclkit import export
    from iclkit.snapshots import TrainingFolder

    folder = TrainingFolder(plan.folder / "trainings" / training.id)
    kept = _kept(folder.steps(), step, training, run)
    model = export.TrainedModel(
        config=config,
        identity=training.identity,
        folder=folder,
        step=kept,
        provider=plugins.registry.get("model", config.model.kind).provider,
    )
    place = out or plan.folder / "exports" / f"{training.id}-{kept}"
    for reason in export.write_model(model, place):
        click.echo(f"note: {reason}", err=True)
    if activations:
        export.write_activations(model, place, taps, split, sequences)
    for path in sorted(path for path in place.rglob("*") if path.is_file()):
        click.echo(str(path))


def _chosen(plan: Plan, words: tuple[str, ...], measured: bool) -> tuple[Training, Config]:
    """Return the training that is named and the config of a cell that it serves; the only one if `measured`."""
    if len(words) == 1 and "=" not in words[0]:
        training = plan.training(words[0])
        cells = [cell for cell in plan.cells if cell.measured.training.id == training.id]
        if not cells:
            return training, training.config  # a prior
    else:
        cells = _matching(plan, dict(_pairs(words, plan)))
        if len({cell.measured.training.id for cell in cells}) > 1:
            raise UsageError(_ambiguous(plan, cells, "trainings"))
    if measured and len({cell.measured.id for cell in cells}) > 1:
        raise UsageError(_ambiguous(plan, cells, "evaluations"))
    return cells[0].measured.training, cells[0].config


def _pairs(words: Iterable[str], plan: Plan) -> Iterator[tuple[str, int]]:
    """Yield (dimension, place along it) for words such as topics=4, or several joined by commas."""
    axes = {axis.dim: axis for axis in plan.axes}
    for word in words:
        dim, equals, text = word.strip().partition("=")
        if not equals:
            raise UsageError(f"{word}: a cell is named by {_example(plan)}, or by the id of its training alone")
        if dim not in axes:
            raise UsageError(f"no dimension is called {dim}; there are: {', '.join(axes)}")
        place = _place(axes[dim], text)
        if place is None and "," in text:
            yield from _pairs(word.split(","), plan)
        elif place is None:
            raise UsageError(f"no cell has {word}; {dim} is one of: {_shown(axes[dim].labels)}")
        else:
            yield dim, place


def _place(axis: Axis, text: str) -> int | None:
    """Return the index of a label along an axis; None if there is no such label."""
    return next((index for index, label in enumerate(axis.labels) if _text(label) == text.strip()), None)


def _matching(plan: Plan, wanted: dict[str, int]) -> list[Cell]:
    dims = list(plan.dims)
    return [cell for cell in plan.cells if all(cell.index[dims.index(dim)] == place for dim, place in wanted.items())]


def _ambiguous(plan: Plan, cells: list[Cell], what: str) -> str:
    """Say which dimensions still have to be given."""
    open_axes = [axis for which, axis in enumerate(plan.axes) if len({cell.index[which] for cell in cells}) > 1]
    told = "; ".join(f"{axis.dim} is one of: {_shown(axis.labels)}" for axis in open_axes)
    return f"this names {len(cells)} cells of several {what}: say which, such as {_example(plan)} ({told})"


def _example(plan: Plan) -> str:
    """Return a cell's name, as it may be typed."""
    axes = [axis for axis in plan.axes if len(axis) > 1] or plan.axes
    return " ".join(f"{axis.dim}={_text(axis.labels[0])}" for axis in axes)


def _shown(labels: Iterable[Any]) -> str:
    return ", ".join(map(_text, labels))


def _text(label: Any) -> str:
    return "fresh" if label == math.inf else str(label)


def _kept(steps: list[int], step: int | None, training: Training, run: Path) -> int:
    """Return the step to export; raises StoreError if its snapshot is not there."""
    if not steps:
        raise StoreError(f"training {training.id} has left no snapshot in {run} yet; `iclkit run` trains it")
    if step is not None and step not in steps:
        raise StoreError(f"no snapshot of step {step} of training {training.id}; there are: {_shown(steps)}")
    return steps[-1] if step is None else step
