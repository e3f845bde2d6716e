"""Run an experiment of this folder and measure what it claims.

    python examples/report.py examples/landmarks/task-diversity.toml [--reduced] [--out RUN] [--workers 2]

Cells that are finished are kept, as with `iclkit run`. At full size the numbers go to `measured/NAME.csv` and the
figures to `figures/` beside the config, where the gallery of the docs reads them.
"""

import argparse
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the packs share findings.py

from findings import Experiment, Finding, opened, write  # noqa: E402

PACKS = ("next-token-implies-icl", "icl-emerges-from-generalization", "landmarks")


def experiments(pack: str) -> dict[str, Experiment]:
    """Return a pack's experiments by name."""
    name = f"claims_{pack.replace('-', '_')}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / pack / "claims.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return {experiment.name: experiment for experiment in sys.modules[name].EXPERIMENTS}


def run(pack: str, experiment: Experiment, folder: Path, *, reduced: bool = False, workers: int = 2) -> list[Finding]:
    """Run an experiment into a folder and return what is found; raises CalledProcessError where the run fails."""
    command = [
        sys.executable,
        "-m",
        "iclkit",
        "run",
        str(HERE / pack / f"{experiment.name}.toml"),
        "--out",
        str(folder),
    ]
    changes = [part for change in experiment.reduced if reduced for part in ("--set", change)]
    subprocess.run([*command, "--workers", str(workers), *changes], check=True)
    return list(experiment.measure(opened(folder)))


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--reduced", action="store_true", help="the smaller setting of the tests; nothing is stored")
    parser.add_argument("--out", type=Path, help="run folder; runs/NAME if absent")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    pack, name = given.config.resolve().parent.name, given.config.stem
    experiment = experiments(pack)[name]
    folder = given.out or Path("runs") / (f"{name}-reduced" if given.reduced else name)
    found = run(pack, experiment, folder, reduced=given.reduced, workers=given.workers)
    for finding in found:
        print(f"\n{finding.claim}\n  paper: {finding.paper}\n  {finding.verdict}")
        for row in finding.rows:
            print(f"    {row}")
    if given.reduced:
        return
    place = HERE / pack
    (place / "measured").mkdir(exist_ok=True)
    write(found, place / "measured" / f"{name}.csv")
    (place / "figures").mkdir(exist_ok=True)
    for figure in experiment.figures:
        for suffix in ("png", "pdf"):
            command = [sys.executable, "-m", "iclkit", "plot", str(folder), figure, "--format", suffix]
            subprocess.run(command, check=True)
            shutil.copy(folder / "figures" / f"{figure}.{suffix}", place / "figures" / f"{name}-{figure}.{suffix}")


if __name__ == "__main__":
    _main()
