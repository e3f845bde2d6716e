"""What a run says while it runs."""

import io
import os
import pty
import re
import subprocess
import sys

import pytest

from iclkit import plan, plugins, terminal
from iclkit.snapshots import TrainingFolder

SWEPT = ('sweep={seed=[0, 1], "data.topics"=[1, "fresh"]}',)


@pytest.fixture
def planned(tiny):
    return plan.load(tiny, None, plugins.load(), assignments=SWEPT, out=tiny.parent / "out")


def test_labels_are_the_coordinates(planned):
    assert sorted(terminal.labels(planned).values()) == [
        "seed=0 topics=1",
        "seed=0 topics=fresh",
        "seed=1 topics=1",
        "seed=1 topics=fresh",
    ]


def test_a_training_of_many_cells_is_called_by_what_they_share(tiny):
    made = plan.load(tiny, None, plugins.load(), assignments=('sweep={"evaluation.length"=[4, 8], seed=[0, 1]}',))
    assert sorted(terminal.labels(made).values()) == ["seed=0", "seed=1"]


def test_a_prior_is_called_so(tiny):
    made = plan.load(tiny, None, plugins.load(), assignments=("prior={trainer={steps=2}}",))
    assert sorted(terminal.labels(made).values()) == ["", "prior"]


def test_lines(planned, capsys):
    first, second, *_ = planned.trainings
    with terminal.Lines() as reports:
        reports.begin(planned, planned.trainings[:3])
        reports.ended(first, {"status": "done", "wall_time": 12.3})
        reports.ended(second, {"status": "failed", "error": "ValueError: no\nsuch luck"})
        reports.say("note: something")
    label = terminal.labels(planned)
    assert capsys.readouterr().err.splitlines() == [
        f"3 trainings, {min(terminal._cores(), 3)} worker{'s' * (terminal._cores() > 1)}: {planned.folder}",
        f"[1/3] {first.id} {label[first.id]}: done in 12 s",
        f"[2/3] {second.id} {label[second.id]}: failed: ValueError: no such luck",
        "note: something",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (83, "1 min 23 s"), (7384, "2 h 3 min")],
)
def test_durations(seconds, said):
    assert terminal.duration(seconds) == said


def test_view_shows_progress_against_the_floor(planned, monkeypatch):
    from rich.console import Console

    console = Console(width=110)
    view = terminal.View()
    first, second, *_ = planned.trainings
    monkeypatch.setattr(view._live, "start", lambda: None)
    stale = TrainingFolder(planned.folder / "trainings" / second.id)
    stale.path.mkdir(parents=True)
    stale.report({"step": 99, "steps": 100, "loss": 1.0, "floor": 0.9, "wall_time": 5.0})
    os.utime(stale.path / "progress.json", (0, 0))  # a killed run left it
    view.begin(planned, planned.trainings)
    place = TrainingFolder(planned.folder / "trainings" / first.id)
    place.path.mkdir(parents=True)
    place.report({"step": 25, "steps": 100, "loss": 0.7, "floor": 0.5, "wall_time": 10.0})

    def shown():
        with console.capture() as captured:
            console.print(view._render())
        return captured.get()

    assert "0/4 done" in shown()
    (row,) = [line for line in shown().splitlines() if first.id[:8] in line]
    for said in ("seed=0 topics=1", "25/100", "loss 0.700, floor 0.500", "30 s left"):
        assert said in row
    assert second.id[:8] not in shown()
    place.report({"step": 50, "steps": 100, "loss": 0.7, "floor": float("nan"), "wall_time": 20.0})
    assert "floor" not in shown()
    (place.path / "progress.json").unlink()
    assert "measuring" in shown()
    view.ended(first, {"status": "done", "wall_time": 40.0})
    assert "1/4 done" in shown()
    assert first.id[:8] not in shown()


@pytest.mark.parametrize(
    ("environ", "terminal_there", "lively"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_lively_only_on_a_terminal_that_can(monkeypatch, environ, terminal_there, lively):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    stream.isatty = lambda: terminal_there
    assert terminal.is_lively(stream) is lively


def test_run_on_a_terminal(tiny):
    said = _on_terminal([sys.executable, "-m", "iclkit", "run", str(tiny)], tiny.parent, {"TERM": "xterm"})
    assert "\x1b[" in said
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said)
    assert "1 training, 1 worker: runs/tiny" in plain
    assert "cube: runs/tiny/cube.zarr" in plain
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") == 1  # the cursor is given back


def _on_terminal(command, folder, environ):
    """Run a command with a terminal for its output, and return what it wrote."""
    kept = {name: value for name, value in os.environ.items() if name not in ("TERM", "NO_COLOR", "FORCE_COLOR")}
    ours, its = pty.openpty()
    process = subprocess.Popen(command, cwd=folder, env=kept | environ, stdin=its, stdout=its, stderr=its)
    os.close(its)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError:  # the terminal's other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait(60) == 0, said
    return said.decode()


def test_no_colour_in_tables_of_a_terminal(tiny):
    said = _on_terminal(
        [sys.executable, "-m", "iclkit", "plan", str(tiny)], tiny.parent, {"TERM": "xterm", "NO_COLOR": "1"}
    )
    assert "\x1b[" not in said
