"""What is missing -> executor -> parts -> cube -> figures. Running again continues; a finished run is a no-op.

One task trains a cohort and measures it, in whatever process the executor chooses; it is sent plain tables and
reads them again. Only this process writes the cube.
"""

import fcntl
import logging
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from iclkit import files, parts, provenance, world
from iclkit.errors import RunFailures, StoreError
from iclkit.findings import draw_figures, sentences
from iclkit.parts import Parts
from iclkit.plan import Pass, Plan, pass_of, training_of
from iclkit.plugins import Plugins, load
from iclkit.reporting import Reporter, Silent
from iclkit.snapshots import TrainingFolder

_logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class Task:
    """Some trainings of one cohort and the passes that measure them; plain values only.

    Parameters
    ----------
    trainings : (id, tables) of each training.
    passes : (id, tables, names of the metrics to measure) of each pass.
    after : ids of the trainings (priors) that must be done before.

    """

    folder: str
    base: str
    plugin_files: tuple[str, ...]
    trainings: tuple[tuple[str, Mapping[str, Any]], ...]
    passes: tuple[tuple[str, Mapping[str, Any], tuple[str, ...]], ...]
    after: frozenset[str]


@frozen
class Failure:
    """What went wrong in a line, and the file that holds the traceback."""

    text: str
    path: Path

    def __str__(self) -> str:
        return self.text


@frozen(kw_only=True)
class Result:
    """What a run left: its cube, its figures, the sentences its metrics say, and what failed by training id."""

    folder: Path
    cube: Path
    figures: tuple[Path, ...]
    sentences: tuple[str, ...]
    failures: Mapping[str, Failure]
    worked: bool

    def check(self) -> None:
        """Raise RunFailures if anything failed."""
        if self.failures:
            first, failed = next(iter(self.failures.items()))
            raise RunFailures(
                f"{len(self.failures)} of the trainings failed; the first, {first}: {failed.text} "
                f"(full traceback in {failed.path}; running again tries again)"
            )


def run(
    plan: Plan,
    plugins: Plugins,
    *,
    workers: int | None = None,
    fail_fast: bool = False,
    reporter: Reporter | None = None,
) -> Result:
    """Do what is missing of a plan and assemble its cube.

    Raises StoreError where another process is running in the folder. Failed trainings are recorded and the others
    go on; `Result.check` raises for them.
    """
    reporter = reporter or Silent()
    here = world.current()
    if not here.leads:
        while (task := here.broadcast(None)) is not None:
            work(task)
        return Result(
            folder=plan.folder,
            cube=plan.folder / "cube.zarr",
            figures=(),
            sentences=(),
            failures={},
            worked=True,
        )
    with lock(plan.folder):
        remember(plan, plugins)
        tasks = missing_tasks(plan, plugins)
        plugins.notify("iclkit_run_started", plan=plan)
        if tasks:
            _tell_of_other_versions(plan, reporter)
            reporter.begin(plan, [plan.training(name) for task in tasks for name, _ in task.trainings])
            _execute(
                plan,
                plugins,
                tasks,
                workers if workers is not None else plan.workers,
                fail_fast,
                reporter,
                here,
            )
        here.broadcast(None)
        return finish(plan, plugins, worked=bool(tasks))


def finish(plan: Plan, plugins: Plugins, *, worked: bool) -> Result:
    """Assemble the cube from what is there, draw the figures, collect the sentences."""
    from iclkit import cube

    path = cube.assemble(plan, plan.folder / "cube.zarr")
    data = cube.open_cube(path).load()
    figures = draw_figures(data, plugins, plan.folder / "figures", redraw=worked)
    said = sentences(data, plan)
    if worked:
        _thin(plan)
    plugins.notify("iclkit_run_finished", plan=plan, cube_path=path)
    return Result(
        folder=plan.folder,
        cube=path,
        figures=figures,
        sentences=said,
        failures=_failures(plan),
        worked=worked,
    )


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process; the lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(
                f"{folder} is in use by another iclkit process; wait for it, or choose another folder with --out"
            ) from None
        for place in (folder, folder / "parts", folder / "figures"):
            files.sweep_leftovers(place)
        yield


def missing_tasks(plan: Plan, plugins: Plugins) -> list[Task]:
    """Return what is still to be done, priors before those who need them."""
    measured, trainings = Parts(plan.folder / "parts"), plan.folder / "trainings"
    tasks = []
    for cohort in plan.cohorts:
        wanted, passes = [], []
        for training in cohort:
            open_passes = [
                (one.id, one.raw, tuple(names))
                for one in plan.passes_of(training)
                if (names := measured.missing(one.id, one.metrics))
            ]
            if open_passes or not TrainingFolder(trainings / training.id).done:
                wanted.append(training)
                passes += open_passes
        if wanted:
            tasks.append(
                Task(
                    folder=str(plan.folder.resolve()),
                    base=str(plan.base),
                    plugin_files=tuple(map(str, plugins.files)),
                    trainings=tuple((training.id, training.raw) for training in wanted),
                    passes=tuple(passes),
                    after=frozenset(training.prior.id for training in wanted if training.prior),
                )
            )
    return tasks


def work(task: Task) -> dict[str, dict[str, Any]]:
    """Do a task in this process, with one thread, and return how each training ended."""
    import torch

    from iclkit import train

    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    torch.set_num_threads(int(asked) if asked.isdigit() and int(asked) else 1)
    plugins, here = load(task.plugin_files), world.current()
    folder, base = Path(task.folder), Path(task.base)
    trainings = [training_of(raw, plugins.registry, base) for _, raw in task.trainings]
    for training, (name, _) in zip(trainings, task.trainings, strict=True):
        if training.id != name:
            raise StoreError(f"training {name} reads as {training.id} in a worker: a file it depends on has changed")
    if trainings[0].stacked:
        outcomes = train.run_together(trainings, folder / "trainings", plugins.notify, here)
    else:
        outcomes = {
            training.id: train.run(training, folder / "trainings", plugins.notify, here) for training in trainings
        }
    wanted_passes = [(pass_of(raw, plugins.registry, base), metrics) for _, raw, metrics in task.passes]
    if here.leads:
        for wanted, metrics in wanted_passes:  # all of them before the first is measured
            readers = [metric.name for metric in wanted.config.metrics if metric.name in metrics and metric.held_out]
            TrainingFolder(folder / "trainings" / wanted.training.id).declare(wanted.settings(readers).values())
    trained = {name for name, outcome in outcomes.items() if outcome["status"] == "done"}
    for wanted, metrics in wanted_passes:
        if wanted.training.id not in trained:
            continue
        failed = _measure(wanted, metrics, folder, here)  # another pass of the same training goes on
        if failed:
            outcomes[wanted.training.id] = failed
    return outcomes


def _measure(wanted: Pass, metrics: Sequence[str], folder: Path, here: world.World) -> dict[str, Any] | None:
    """Measure and write a part; record what fails, return it, and let other cells go on."""
    from iclkit import evaluate

    try:
        failures = dict(evaluate.write_part(wanted, metrics, folder, here))
    except Exception as error:
        if not here.shares(error):
            raise RunFailures(
                f"rank {here.rank} of {here.size} stopped measuring {wanted.training.id}: {type(error).__name__}: "
                f"{error}; the whole run ends, what was finished is kept, and running again continues"
            ) from error
        failures = dict.fromkeys(metrics, traceback.format_exc())
    failed = None
    if failures:
        brief = "; ".join(f"measuring {name}: {text.strip().splitlines()[-1]}" for name, text in failures.items())
        failed = {
            "status": "failed",
            "error": brief,
            "metrics": {name: wanted.metrics[name] for name in failures},
            "traceback": "\n".join(dict.fromkeys(failures.values())),
        }
    if here.leads:
        parts.record_failure(folder / "parts", wanted.id, failed)
    return failed


def _execute(
    plan: Plan,
    plugins: Plugins,
    tasks: list[Task],
    workers: int,
    fail_fast: bool,
    reporter: Reporter,
    here: world.World,
) -> None:
    """Submit every task once the priors it needs are done; stop submitting after a failure if asked to.

    Several ranks do each task together, in the order in which this one tells them.
    """
    waiting, running, stopped = list(tasks), dict[Future, Task](), False
    pending = {name for task in tasks for name, _ in task.trainings}
    with _executor(plan, plugins, len(tasks), workers, here.size) as executor:
        while waiting or running:
            ready = [task for task in waiting if not task.after & pending]
            for task in [] if stopped else ready:
                waiting.remove(task)
                here.broadcast(task)
                running[executor.submit(work, task)] = task
                if running and all(future.done() for future in running):
                    break  # an in-process executor: report before the next begins
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                if here.size > 1:
                    future.result()  # raises: what one rank cannot do, none can
                outcomes = _outcomes(future, task, plan)
                pending -= set(outcomes)
                for name, outcome in outcomes.items():
                    reporter.ended(plan.training(name), outcome)
                    stopped = stopped or (fail_fast and outcome["status"] == "failed")
            if stopped:  # what no worker has begun yet is taken back
                running = {future: task for future, task in running.items() if not future.cancel()}


def _executor(plan: Plan, plugins: Plugins, tasks: int, workers: int, ranks: int) -> Executor:
    """Build the executor: the one that was chosen, or an in-process one where a single worker is left."""
    count = min(workers or _cores(), tasks)
    if count > 1 and ranks == 1:
        return plan.execution.build(count)
    spec = next(entry.spec for entry in plugins.registry.all("executor") if entry.spec.in_process)
    return spec.load()(spec.config(), 1)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _outcomes(future: Future, task: Task, plan: Plan) -> Mapping[str, Mapping[str, Any]]:
    """Return how a task's trainings ended; a worker that died is a failure of theirs."""
    error = future.exception()
    if error is None:
        return future.result()
    brief = f"{type(error).__name__}: {error}"
    if isinstance(error, BrokenProcessPool):
        brief = 'its worker process died: out of memory, or a script without if __name__ == "__main__": around its run'
    failed = {"status": "failed", "error": brief, "traceback": "".join(traceback.format_exception(error))}
    for name, _ in task.trainings:
        place = TrainingFolder(plan.folder / "trainings" / name)
        if not place.done:
            place.end(failed)
    return {name: failed for name, _ in task.trainings}


def remember(plan: Plan, plugins: Plugins) -> None:
    """Keep in the run folder what it was asked for: the config's text, where it came from, `--set` and `--plugin`."""
    _refuse_other_experiment(plan)
    if not plan.text:
        return
    if not (path := plan.folder / "config.toml").exists() or path.read_text() != plan.text:
        files.write_text(path, plan.text)
    asked = {
        "config": str(plan.path.resolve()),
        "set": list(plan.assignments),
        "plugins": [str(file) for file in plugins.files],
    }
    if files.read_json(plan.folder / "run.json") != asked:
        files.write_json(plan.folder / "run.json", asked)


def _refuse_other_experiment(plan: Plan) -> None:
    """Raise StoreError where the folder holds the run of another config, with which this one shares no training."""
    before = (files.read_json(plan.folder / "run.json") or {}).get("config")
    here = {path.name for path in (plan.folder / "trainings").glob("*")}
    shared = here & {training.id for training in plan.trainings}
    if plan.text and before and here and not shared and Path(before).name != plan.path.name:
        raise StoreError(
            f"{plan.folder} holds the run of another config, {before}, and its cube would be replaced; "
            "choose another folder with --out, or remove this one"
        )


def _tell_of_other_versions(plan: Plan, reporter: Reporter) -> None:
    now, seen = provenance.versions(), set()
    for training in plan.trainings:
        made = files.read_json(plan.folder / "trainings" / training.id / "training.json") or {}
        seen |= {
            (name, version, now[name])
            for name, version in made.get("versions", {}).items()
            if now.get(name, version) != version
        }
    for name, before, after in sorted(seen):
        reporter.say(f"note: some trainings here were made with {name} {before}; this is {name} {after}")


def _thin(plan: Plan) -> None:
    """Remove the snapshots that are not to be kept, of trainings that are measured in full."""
    measured = Parts(plan.folder / "parts")
    for training in plan.trainings:
        place = TrainingFolder(plan.folder / "trainings" / training.id)
        if place.done and not any(measured.missing(one.id, one.metrics) for one in plan.passes_of(training)):
            place.thin(plan.keep)


def _failures(plan: Plan) -> dict[str, Failure]:
    found, measured = {}, Parts(plan.folder / "parts")
    for wanted in plan.passes:
        place = TrainingFolder(plan.folder / "trainings" / wanted.training.id)
        outcome = place.outcome or {}
        if outcome.get("status") == "failed":
            found[wanted.training.id] = Failure(outcome["error"], place.path / "outcome.json")
        elif failed := measured.failure(wanted.id, wanted.metrics):
            found[wanted.training.id] = Failure(failed["error"], measured.folder / f"{wanted.id}.failed.json")
    return found
