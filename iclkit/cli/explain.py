"""`iclkit explain`: what theory predicts, before anything is trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iclkit.cli import table
from iclkit.cli.options import as_json, load_plan, plugin_option
from iclkit.errors import UsageError

if TYPE_CHECKING:
    import xarray as xr

    from iclkit.config import Config

_WIDTH, _HEIGHT = 64, 12  # characters of the drawn curve


@click.command("explain")
@click.argument("target", metavar="CONFIG|SOURCE")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A key of the source (of the config).")
@click.option("--length", type=click.IntRange(min=1), default=None, help="How many positions (64, or the config's).")
@click.option("--topics", type=click.IntRange(min=1), default=None, help="K known topics, instead of fresh ones.")
@click.option(
    "--tolerance", type=click.FloatRange(min=0, min_open=True), default=1e-3, help="Error where sampled, nat."
)
@click.option("--bits", is_flag=True, default=False, help="Show bits instead of nats.")
@plugin_option
@as_json
def command(
    target: str,
    assignments: tuple[str, ...],
    length: int | None,
    topics: int | None,
    tolerance: float,
    bits: bool,
    plugin_files: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Tell what is possible on a source, from its exact theory: CONFIG is a TOML file, SOURCE the name of a source."""
    if bits and as_json:
        raise UsageError("--bits is for display; JSON is always in nats")
    config = _config(target, assignments, length, topics, plugin_files)
    from iclkit import theory

    data = theory.explain(config, tolerance)
    if as_json:
        table.dump(theory.as_json(data))
    else:
        _page(config, data, bits)


def _config(
    target: str, assignments: tuple[str, ...], length: int | None, topics: int | None, files: tuple[Path, ...]
) -> Config:
    """Read a config file's first cell, or make the config of a source alone."""
    from attrs import evolve

    if target.endswith(".toml") or "/" in target:
        config = load_plan(Path(target), assignments, files, None)[0].cells[0].config
        data = evolve(config.data, length=length or config.data.length, topics=topics or config.data.topics)
        return evolve(
            config, data=data, evaluation=evolve(config.evaluation, length=length or config.evaluation.length)
        )
    from iclkit import config as reader
    from iclkit import plugins, theory

    table = reader.override({}, assignments) | {"kind": target}
    return theory.source_config(table, length or 64, topics, plugins.load(files))


def _page(config: Config, data: xr.Dataset, bits: bool) -> None:
    """Print a page: the curve drawn, its numbers, and what follows from them."""
    unit, scale = ("bit", 1 / math.log(2)) if bits else ("nat", 1.0)
    click.echo(f"{config.source.kind}: {config.source.spec.summary}\n")
    click.echo(f"{_caption(data)}, {unit} per token\n")
    best = [value * scale for value in data["myopic_entropy"].values.tolist()]
    oracle = data["floor"].sel(reference="oracle").values.tolist() if "oracle" in data["reference"] else best
    for line in _drawing(best, [value * scale for value in oracle], int(data["position"][-1])):
        click.echo(f"  {line}")
    click.echo()
    _floors(data, scale, unit)
    click.echo()
    for name, text in _facts(data, scale, unit):
        click.echo(f"{name + ' ':.<28} {text}")


def _caption(data: xr.Dataset) -> str:
    """Say what is drawn: the best predictor that is not told the topic, or that there is none to draw."""
    names = data["reference"].values.tolist()
    if any(name != "oracle" for name in names):
        return "Least possible loss at position l (o), and with the topic known (.)"
    return "Loss with the topic known (o); no exact predictor that infers fresh topics, --topics K may have one"


def _drawing(best: list[float], oracle: list[float], last: int) -> list[str]:
    """Draw two curves on a logarithmic position axis, in plain characters."""
    finite = [value for value in (*best, *oracle) if math.isfinite(value)]
    low, high = min(finite), max(finite)
    high = high if high - low > 1e-9 else low + 1e-9
    grid = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    count = len(best)
    for mark, values in ((".", oracle), ("o", best)):
        for column in range(_WIDTH):
            position = count ** (column / (_WIDTH - 1)) if count > 1 else 1.0
            value = values[min(count, round(position)) - 1]
            if math.isfinite(value):
                grid[round((high - value) / (high - low) * (_HEIGHT - 1))][column] = mark
    labels = {0: f"{high:.4f}", _HEIGHT - 1: f"{low:.4f}"}
    lines = [f"{labels.get(row, ''):>8} |{''.join(cells).rstrip()}" for row, cells in enumerate(grid)]
    return [*lines, f"{'':8} +{'-' * _WIDTH}", f"{'':9} 1{f'l = {last}':>{_WIDTH - 1}}"]


def _floors(data: xr.Dataset, scale: float, unit: str) -> None:
    there = data["position"].values.tolist()
    wanted = [place for place in there if place in (1, 2, 3, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, there[-1])]
    names = [str(name) for name in data["reference"].values.tolist()]
    rows = [
        [position, *(f"{scale * data['floor'].sel(reference=name, position=position).item():.5f}" for name in names)]
        for position in wanted
    ]
    table.show(["l", *(f"{name} ({unit})" for name in names)], rows)


def _facts(data: xr.Dataset, scale: float, unit: str) -> list[tuple[str, str]]:
    """Return the numbers that follow from the curve, each with its error and method."""

    def number(name: str, **where: Any) -> str:
        value, error = (data[key].sel(where).item() * scale for key in (name, f"{name}_error"))
        return f"{value:.5f} {unit}" + (f" (within {error:.1e})" if error > 5e-6 else "")

    told = [("entropy rate", f"{number('entropy_rate')}, {data['entropy_rate'].attrs['method']}")]
    told.append(("excess entropy so far", number("excess_entropy")))
    for name in data["reference"].values.tolist():
        gain = number("predicted_icl", reference=name)
        told.append((f"in-context gain, {name}", f"{gain} from the first position to the last"))
    for name in data["predictor"].values.tolist() if "plateaus" in data else ():
        told.append((f"plateau, {name}", number("plateaus", predictor=name)))
    if "topics_identified_at" in data:
        half, hundredth = data["topics_identified_at"].values.tolist()
        text = ", ".join(
            f"{'half' if share == 0.5 else '99 %'} of it after {int(tokens)} tokens"
            if tokens == tokens
            else "99 % later"
            for share, tokens in ((0.5, half), (0.01, hundredth))
        )
        told.append(("which topic is known", text))
    told.append(("method", data["floor"].attrs["method"]))
    return told
