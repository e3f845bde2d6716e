"""`iclkit plan`: what a config asks for, and how much of it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from iclkit.cli import table
from iclkit.cli.options import as_json, config_options

if TYPE_CHECKING:
    from iclkit.plan import Plan
    from iclkit.plugins import Plugins


@click.command("plan")
@config_options
@as_json
def command(plan: Plan, plugins: Plugins, as_json: bool) -> None:
    """Show what a config asks for: trainings, cells, passes, cohorts, dimensions, run folder."""
    if as_json:
        table.dump(facts(plan))
    else:
        show(plan)


def facts(plan: Plan) -> dict[str, Any]:
    """Return the plan as a JSON value."""
    return {
        "title": plan.title,
        "config": str(plan.path),
        "folder": str(plan.folder),
        "dims": [
            {
                "name": axis.dim,
                "size": len(axis),
                "values": ["fresh" if _fresh(label) else label for label in axis.labels],
            }
            for axis in plan.axes
        ],
        "cells": len(plan.cells),
        "passes": len(plan.passes),
        "cohorts": len(plan.cohorts),
        "trainings": _trainings(plan),
        "forecasts": _forecasts(plan),
        "execution": {"kind": plan.execution.kind, "workers": plan.workers},
    }


def show(plan: Plan) -> None:
    """Print the plan as tables."""
    told = facts(plan)
    if plan.title:
        click.echo(plan.title)
    done = sum(training["state"] == "done" for training in told["trainings"])
    rows = [
        ("run folder", plan.folder),
        ("trainings", f"{len(plan.trainings)} ({done} done)"),
        ("cells", f"{len(plan.cells)} ({' x '.join(str(dim['size']) for dim in told['dims'])})"),
        ("passes", f"{len(plan.passes)} over evaluation data"),
        ("cohorts", _cohorts(plan)),
    ]
    for dim in told["dims"]:
        rows.append((f"dimension {dim['name']}", _short(dim["values"])))
    for name, value in rows:
        click.echo(f"{name + ' ':.<24} {value}")
    for line in told["forecasts"]:
        click.echo(line)
    click.echo()
    columns = ("id", "where", "source", "model", "trainer", "passes", "after", "state")
    table.show(columns, [[training[name] for name in columns] for training in told["trainings"]])


def _cohorts(plan: Plan) -> str:
    """Say how many there are and, where trainings run together, of how many at most."""
    largest = max(map(len, plan.cohorts), default=0)
    return f"{len(plan.cohorts)}{f', of up to {largest} trainings each' if largest > 1 else ''}"


def _trainings(plan: Plan) -> list[dict[str, Any]]:
    from iclkit.snapshots import TrainingFolder
    from iclkit.terminal import labels

    where = labels(plan)
    rows = []
    for training in plan.trainings:
        config = training.config
        outcome = TrainingFolder(plan.folder / "trainings" / training.id).outcome or {}
        rows.append(
            {
                "id": training.id,
                "where": where[training.id],
                "source": config.source.kind,
                "model": config.model.kind,
                "trainer": config.trainer.kind,
                "passes": len(plan.passes_of(training)),
                "after": training.prior.id if training.prior else None,
                "state": outcome.get("status", "to do"),
            }
        )
    return rows


def _forecasts(plan: Plan) -> list[str]:
    """Return what metrics say can be expected of them, each line once."""
    from iclkit.specs import resolve

    lines: dict[str, None] = {}
    for wanted in plan.passes:
        config = wanted.config
        for metric in config.metrics:
            if metric.spec.forecast:
                told = resolve(metric.spec.forecast)(
                    metric.config, config.source.facts, config.data, config.evaluation_length
                )
                lines |= dict.fromkeys(told)
    return list(lines)


def _fresh(label: Any) -> bool:
    return label == float("inf")


def _short(values: list[Any]) -> str:
    shown = [str(value) for value in values]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:4], "...", *shown[-2:]])
