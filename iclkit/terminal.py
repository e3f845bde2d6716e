"""What a run says while it runs: a live view on a terminal, plain lines anywhere else. All of it on stderr."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self, TextIO

from iclkit import world
from iclkit.snapshots import TrainingFolder

if TYPE_CHECKING:
    from rich.console import RenderableType

    from iclkit.plan import Plan, Training

_ROWS = 16  # running trainings shown at most
_REFRESHES = 3  # per second
_PATIENCE = 3.0  # seconds that an interrupted run is given to leave by itself


class Lines:
    """Reports in plain lines: one at the beginning, one for each training that ended."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._labels: dict[str, str] = {}
        self._count = self._ended = self._failed = 0
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def begin(self, plan: Plan, waiting: Sequence[Training]) -> None:
        """Say how much there is to do, and where."""
        self._plan, self._count, self._ended = plan, len(waiting), 0
        self._labels, self._began = labels(plan), time.monotonic()
        ranks = world.current().size
        hands = (
            f"one at a time on {ranks} ranks"
            if ranks > 1
            else _counted(min(plan.workers or _cores(), len(waiting)), "worker")
        )
        self._write(f"{_counted(len(waiting), 'training')}, {hands}: {plan.folder}")

    def ended(self, training: Training, outcome: Mapping[str, Any]) -> None:
        """Say how a training ended."""
        self._ended += 1
        self._failed += outcome["status"] == "failed"
        where = self._labels.get(training.id, "")
        self._write(
            f"[{self._ended}/{self._count}] {training.id}{f' {where}' if where else ''}: {self._how(training, outcome)}"
        )

    def say(self, line: str) -> None:
        """Pass a line on."""
        self._write(line)

    def close(self) -> None:
        """Stop reporting; may be called twice."""

    def _write(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    def _how(self, training: Training, outcome: Mapping[str, Any]) -> str:
        if outcome["status"] == "failed":
            return f"failed: {' '.join(str(outcome.get('error', '')).split())}"
        text = "done"
        if "wall_time" in outcome:
            text += f" in {duration(outcome['wall_time'])}"
        loss = _last_loss(self._place(training))
        return text if loss is None else f"{text}, loss {loss:.4f}"

    def _place(self, training: Training) -> TrainingFolder:
        assert self._plan is not None
        return TrainingFolder(self._plan.folder / "trainings" / training.id)


class View(Lines):
    """Reports in a live view: what runs, how far, its loss against the floor, and the time left.

    The view reads the trainings' progress files itself, so it moves with any executor, the in-process one included.
    """

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._waiting: dict[str, Training] = {}
        self._seen: dict[str, Mapping[str, Any]] = {}
        self._since = 0.0
        self._console = Console(stderr=True)
        self._live = Live(
            console=self._console, get_renderable=self._render, refresh_per_second=_REFRESHES, transient=True
        )

    def begin(self, plan: Plan, waiting: Sequence[Training]) -> None:
        """Say how much there is to do and start the view."""
        super().begin(plan, waiting)
        self._waiting = {training.id: training for training in waiting}
        self._since = time.time()
        self._live.start()

    def ended(self, training: Training, outcome: Mapping[str, Any]) -> None:
        """Take a training off the view."""
        super().ended(training, outcome)
        self._waiting.pop(training.id, None)
        self._seen.pop(training.id, None)

    def close(self) -> None:
        """Stop the view and give the cursor back."""
        self._live.stop()

    def _write(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        running = list(self._running())
        rows = Table.grid(padding=(0, 1))
        parts = 0.0
        for training, progress in running:
            step, steps = progress["step"], max(progress["steps"], 1)
            parts += step / steps
            if rows.row_count >= _ROWS:
                continue
            rows.add_row(
                training.id[:8],
                self._labels.get(training.id, ""),
                ProgressBar(total=steps, completed=step, width=24),
                Text("measuring" if progress.get("measuring") else f"{step}/{progress['steps']}", justify="right"),
                f"loss {_against(progress)}",
                _left(progress.get("wall_time", 0.0), step / steps),
            )
        elapsed = time.monotonic() - self._began
        head = Text(f"{self._ended}/{self._count} done", style="bold")
        if self._failed:
            head.append(f", {self._failed} failed", style="red")
        head.append(f", {duration(elapsed)}{_comma(_left(elapsed, (self._ended + parts) / max(self._count, 1)))}")
        more = len(running) - rows.row_count
        return Group(head, rows, *([Text(f"and {more} more")] if more else []))

    def _running(self) -> Iterator[tuple[Training, Mapping[str, Any]]]:
        """Iterate over the trainings that report progress, or did and are measured now."""
        for name, training in list(self._waiting.items()):
            place = self._place(training)
            progress = _fresh_progress(place, self._since)
            if progress is not None:
                self._seen[name] = progress
                yield training, progress
            elif name in self._seen:
                last = self._seen[name]
                yield training, {**last, "step": last["steps"], "measuring": True}


def reporter() -> Lines:
    """Return the live view where stderr is a terminal that can show it, plain lines otherwise."""
    return View() if is_lively(sys.stderr) else Lines()


def is_lively(stream: TextIO) -> bool:
    """Whether a stream is a terminal on which colour and animation are welcome."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextmanager
def interruptible(reports: Lines) -> Iterator[None]:
    """Leave promptly on Ctrl-C or a scheduler's SIGTERM: every write is atomic, so nothing has to be finished."""

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        for again in before:
            signal.signal(again, signal.SIG_IGN)
        reports.close()
        reports.say("iclkit: interrupted; what was finished is kept, and running the same command again continues")
        for child in multiprocessing.active_children():
            child.terminate()  # an executor would wait for all that it was given
        deadline = threading.Timer(_PATIENCE, os._exit, (128 + number,))
        deadline.daemon = True
        deadline.start()
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def labels(plan: Plan) -> dict[str, str]:
    """Return where each training stands in the sweep: the coordinates that all its cells share."""
    places: dict[str, list[tuple[int, ...]]] = {training.id: [] for training in plan.trainings}
    for cell in plan.cells:
        places[cell.measured.training.id].append(cell.index)
    found = {}
    for name, indices in places.items():
        words = [] if indices else ["prior"]
        for which, axis in enumerate(plan.axes):
            along = {index[which] for index in indices}
            if len(axis) > 1 and len(along) == 1:
                label = axis.labels[along.pop()]
                words.append(f"{axis.dim}={'fresh' if label == math.inf else label}")
        found[name] = " ".join(words)
    return found


def duration(seconds: float) -> str:
    """Say a time span in one or two units."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _fresh_progress(place: TrainingFolder, since: float) -> Mapping[str, Any] | None:
    """Read the progress of a training unless an earlier, killed run left it."""
    try:
        if Path(place.path / "progress.json").stat().st_mtime < since:
            return None
        return place.progress
    except (OSError, ValueError):
        return None


def _last_loss(place: TrainingFolder) -> float | None:
    """Return the training loss at the last recorded step, nats per token."""
    try:
        losses = place.history()["loss"]
        return float(losses[-1][losses[-1] == losses[-1]].mean()) if len(losses) else None
    except Exception:  # a trainer may keep no such history; a line less
        return None


def _against(progress: Mapping[str, Any]) -> str:
    loss, floor = progress.get("loss", math.nan), progress.get("floor", math.nan)
    text = f"{loss:.3f}"
    return text if floor is None or math.isnan(floor) else f"{text}, floor {floor:.3f}"


def _left(elapsed: float, share: float) -> str:
    """Say the time left after a share of the work."""
    if not 0.01 < share < 1:
        return ""
    return f"{duration(elapsed * (1 - share) / share)} left"


def _comma(text: str) -> str:
    return f", {text}" if text else ""


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
