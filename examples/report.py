"""Run an experiment of this folder and measure what it claims.

    python examples/report.py examples/landmarks/task-diversity.toml [--reduced] [--out RUN] [--workers 2]

Cells that are finished are kept, as with `iclkit run`. At full size the numbers go to `measured/NAME.csv` and the
figures to `figures/` beside the config, where the gallery of the docs reads them.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import click

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the packs share findings.py

from findings import Experiment, Finding, opened, write  # noqa: E402

PACKS = ("next-token-implies-icl", "icl-emerges-from-generalization", "landmarks")


def configs() -> list[Path]:
    """Return the configs of all packs."""
    return [path for pack in PACKS for path in sorted((HERE / pack).glob("*.toml"))]


def experiment_of(config: Path) -> Experiment:
    """Return what the file of the same name says of a config."""
    name = f"{config.parent.name}_{config.stem}".replace("-", "_")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, config.with_suffix(".py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    found: Experiment = sys.modules[name].EXPERIMENT
    return found


def run(config: Path, folder: Path, *, reduced: bool = False, workers: int = 2) -> list[Finding]:
    """Run an experiment into a folder and return what is found; raises CalledProcessError where the run fails."""
    experiment = experiment_of(config)
    if experiment.prepare is not None:
        experiment.prepare()
    command = [sys.executable, "-m", "iclkit", "run", str(config), "--out", str(folder), "--workers", str(workers)]
    changes = [part for change in experiment.reduced if reduced for part in ("--set", change)]
    subprocess.run([*command, *changes], check=True)
    return list(experiment.measure(opened(folder)))


@click.command(help=__doc__)
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--reduced", is_flag=True, help="The smaller setting of the tests; nothing is stored.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Run folder; runs/NAME if absent.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Worker processes.")
def main(config: Path, reduced: bool, out: Path | None, workers: int) -> None:
    """Run, measure, print and store."""
    config = config.resolve()
    if not config.with_suffix(".py").exists():
        allowed = ", ".join(sorted(path.stem for path in configs()))
        raise click.UsageError(
            f"{config.name} has no {config.stem}.py beside it that measures it; these have: {allowed}"
        )
    folder = out or Path("runs") / (f"{config.stem}-reduced" if reduced else config.stem)
    try:
        found = run(config, folder, reduced=reduced, workers=workers)
    except subprocess.CalledProcessError as error:
        raise click.ClickException(f"iclkit run failed (exit {error.returncode}); run again to go on") from None
    for finding in found:
        click.echo(f"\n{finding.claim}\n  paper: {finding.paper}\n  {finding.verdict}")
        for row in finding.rows:
            click.echo(f"    {row}")
    if not reduced:
        store(config, folder, found)


def store(config: Path, folder: Path, found: list[Finding]) -> None:
    """Write the table of an experiment into its pack, and its figures."""
    place = config.parent
    for name in ("measured", "figures"):
        (place / name).mkdir(exist_ok=True)
    write(found, place / "measured" / f"{config.stem}.csv")
    for figure in experiment_of(config).figures:
        subprocess.run([sys.executable, "-m", "iclkit", "plot", str(folder), figure], check=True)
        shutil.copy(folder / "figures" / f"{figure}.png", place / "figures" / f"{config.stem}-{figure}.png")


if __name__ == "__main__":
    main()
