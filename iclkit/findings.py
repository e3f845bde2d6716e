"""What a cube has to say when a run ends: figures, sentences, and which metrics measured nothing."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from iclkit import files
from iclkit.plan import Plan
from iclkit.plugins import Plugins
from iclkit.specs import resolve

_logger = logging.getLogger(__name__)


def draw_figures(
    data: Any,
    plugins: Plugins,
    folder: Path,
    *,
    names: Sequence[str] = (),
    suffix: str = "png",
    redraw: bool = True,
) -> tuple[Path, ...]:
    """Draw the figures whose variables the cube has (or those named), and return their paths."""
    drawn = []
    for entry in plugins.registry.all("figure"):
        spec, path = entry.spec, folder / f"{entry.spec.name}.{suffix}"
        if (names and spec.name not in names) or not set(spec.needs) <= set(data.variables):
            continue
        if redraw or not path.exists():
            try:
                figure = resolve(spec.draw)(data)
            except Exception:  # a figure is not worth losing a run's last lines
                _logger.exception("figure %s could not be drawn", spec.name)
                continue
            if figure is None:
                continue
            files.write(path, lambda file, figure=figure: figure.savefig(file, format=suffix))  # type: ignore[misc]
        drawn.append(path)
    return tuple(drawn)


def sentences(data: Any, plan: Plan) -> tuple[str, ...]:
    """Ask the metrics' plugins what was learned; those that measure nothing themselves speak last."""
    specs = {metric.spec.name: metric.spec for cell in plan.cells for metric in cell.config.metrics}
    said = []
    for spec in sorted(specs.values(), key=lambda spec: not spec.variables):
        try:
            said.append(resolve(spec.sentence)(data) if spec.sentence else None)
        except Exception:  # a sentence is not worth losing a run's last lines
            _logger.exception("the sentence of %s could not be said", spec.name)
    return tuple(sentence for sentence in (*said, *_not_applicable(data, plan)) if sentence)


def _not_applicable(data: Any, plan: Plan) -> Iterator[str]:
    """Iterate over the metrics that were asked for and measured nothing in some cells, each with the first reason."""
    names = {metric.reason_variable: metric.name for cell in plan.cells for metric in cell.config.metrics}
    for variable, name in names.items():
        reasons = [text for text in data[variable].values.reshape(-1).tolist() if text] if variable in data else []
        if reasons:
            where = f" in {len(reasons)} of {data['status'].size} cells" if data["status"].size > 1 else ""
            yield f"{name} was not measured{where}: {reasons[0]}"
