"""`iclkit assemble`: parts -> cube and figures."""

from __future__ import annotations

from pathlib import Path

import click

from iclkit.cli.options import assignment_options, load_run
from iclkit.errors import StoreError


@click.command("assemble")
@click.argument("run", type=click.Path(path_type=Path))
@assignment_options
def command(run: Path, assignments: tuple[str, ...], plugin_files: tuple[Path, ...], out: Path | None) -> None:
    """Gather what is measured into the cube and draw its figures.

    RUN is a run folder, or the config file of one.
    """
    from iclkit import cube, engine, findings
    from iclkit.cli.run import tell

    plan, plugins = load_run(run, assignments, plugin_files, out)
    if not any((plan.folder / "parts").glob("*.npz")):
        raise StoreError(f"nothing is measured in {plan.folder}; `iclkit run` or `iclkit train` measures")
    with engine.lock(plan.folder):
        engine.remember(plan, plugins)
        missing = engine.missing_tasks(plan, plugins)
        result = engine.finish(plan, plugins, worked=not missing)
        if missing:  # figures of fewer cells may stand there; snapshots are still needed
            findings.draw_figures(cube.open_cube(result.cube).load(), plugins, plan.folder / "figures")
    if missing:
        count = sum(len(task.trainings) for task in missing)
        click.echo(f"{count} of {len(plan.trainings)} trainings are still to be done or measured.")
    tell(result)
    result.check()
