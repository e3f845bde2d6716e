"""The folder of a training: snapshots of weights by step, its history, the state to resume from, its outcome."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iclkit import files
from iclkit.errors import StoreError

if TYPE_CHECKING:  # whoever only asks how a training ended loads neither torch nor numpy
    from numpy import ndarray
    from torch import Tensor


class TrainingFolder:
    """What a training leaves on disk; every write is atomic, nothing is ever unpickled."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def outcome(self) -> dict[str, Any] | None:
        """How the training ended: status "done" or "failed", costs, traceback; None if it has not ended."""
        return files.read_json(self.path / "outcome.json")

    @property
    def done(self) -> bool:
        """Whether all snapshots are there."""
        return (self.outcome or {}).get("status") == "done"

    @property
    def progress(self) -> dict[str, Any] | None:
        """The last reported progress: step, steps, loss, floor, wall_time."""
        try:
            return files.read_json(self.path / "progress.json")
        except StoreError:  # written without care, for the eye alone
            return None

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Write what this training is, once, and forget an earlier failure."""
        for place in (self.path, self.path / "snapshots"):
            files.sweep_leftovers(place)
        if not (self.path / "training.json").exists():
            files.write_json(self.path / "training.json", identity)
        (self.path / "outcome.json").unlink(missing_ok=True)

    def end(self, outcome: Mapping[str, Any]) -> None:
        """Write how the training ended; the resume state goes when it is done."""
        files.write_json(self.path / "outcome.json", outcome)
        (self.path / "progress.json").unlink(missing_ok=True)
        if outcome["status"] == "done":
            (self.path / "state.safetensors").unlink(missing_ok=True)

    def report(self, progress: Mapping[str, Any]) -> None:
        """Write progress for whoever watches; not worth an fsync."""
        temporary = self.path / ".progress.tmp"
        temporary.write_text(json.dumps(progress))
        temporary.replace(self.path / "progress.json")

    def steps(self) -> list[int]:
        """The steps of the snapshots on disk, in order."""
        return sorted(int(path.stem) for path in (self.path / "snapshots").glob("*.safetensors"))

    def save_snapshot(
        self, step: int, tokens_seen: int, weights: Mapping[str, Tensor], history: Mapping[str, ndarray]
    ) -> None:
        """Write a snapshot and, over the one before, the history up to it."""
        import safetensors.numpy
        import safetensors.torch

        content = safetensors.torch.save(dict(weights), metadata={"tokens_seen": str(tokens_seen)})
        files.write_bytes(self.path / "history.safetensors", safetensors.numpy.save(dict(history)))
        files.write_bytes(self._snapshot(step), content)

    def weights(self, step: int) -> dict[str, Tensor]:
        """Read the weights of a snapshot; raises StoreError if it is gone."""
        path = self._snapshot(step)
        if not path.exists():
            raise StoreError(f"{path} is gone; remove {self.path} and run again to train it anew")
        import safetensors.torch

        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise StoreError(f"{path} is damaged ({error}); remove {self.path} and run again") from None

    def tokens_seen(self, step: int) -> int:
        """How many tokens were trained on at a snapshot."""
        from safetensors import safe_open

        with safe_open(self._snapshot(step), framework="np") as file:
            return int(file.metadata()["tokens_seen"])

    def history(self) -> dict[str, ndarray]:
        """Read the training history."""
        import safetensors.numpy

        path = self.path / "history.safetensors"
        return dict(safetensors.numpy.load_file(path)) if path.exists() else {}

    def save_state(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Write the state to resume from, over the one before."""
        import safetensors.torch

        content = safetensors.torch.save(dict(state), metadata={"step": str(step)})
        files.write_bytes(self.path / "state.safetensors", content)

    def state(self) -> tuple[int, dict[str, Tensor]] | None:
        """Read the state to resume from."""
        path = self.path / "state.safetensors"
        if not path.exists():
            return None
        import safetensors.torch
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as file:
                step = int(file.metadata()["step"])
            return step, safetensors.torch.load_file(path)
        except SafetensorError:  # damaged: the training begins anew, which costs time alone
            return None

    def declare(self, settings: Iterable[str]) -> None:
        """Put settings of metrics that read held-out data on record, unless such data were served before."""
        record = self._holdout()
        if record["served"] or set(settings) <= set(record["declared"]):
            return
        files.write_json(self.path / "holdout.json", record | {"declared": sorted({*record["declared"], *settings})})

    def serve_holdout(self) -> frozenset[str]:
        """Note that held-out data are served from now on; return the settings that were on record before."""
        record = self._holdout()
        if not record["served"]:
            files.write_json(self.path / "holdout.json", record | {"served": True})
        return frozenset(record["declared"])

    def _holdout(self) -> dict[str, Any]:
        return files.read_json(self.path / "holdout.json") or {"declared": [], "served": False}

    def thin(self, keep: Any) -> None:
        """Remove the snapshots that are not to be kept: "all", "last" or a tuple of steps."""
        steps = self.steps()
        kept = set(steps) if keep == "all" else {steps[-1]} if keep == "last" else set(keep) | {steps[-1]}
        for step in set(steps) - kept:
            self._snapshot(step).unlink()

    def _snapshot(self, step: int) -> Path:
        return self.path / "snapshots" / f"{step:08d}.safetensors"
