"""The processes of one distributed run: who am I, how many are we, and how values pass between us.

Under torchrun there are several; otherwise one. Rank 0 alone locks, reads and writes the run folder.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

from attrs import frozen

from iclkit.errors import IclkitError, RunFailures

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others before it takes them for lost."""


@frozen
class World:
    """The rank of this process and the number of processes."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process reads and writes the run folder."""
        return self.rank == 0

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value everywhere."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        box = [value]
        with self._others():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value, in order of rank, on rank 0; an empty list elsewhere."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        box: list[Any] | None = [None] * self.size if self.leads else None
        with self._others():
            dist.gather_object(value, box, dst=0)
        return box or []

    def shares(self, error: Exception) -> bool:
        """Whether every process meets this error at the same place, so that all can go on with what comes next.

        The errors iclkit raises on purpose follow from config, losses and the run folder, which all ranks share; of
        any other (no memory, a full disk, a lost connection) the others may know nothing, and would wait forever.
        """
        return self.size == 1 or (isinstance(error, IclkitError) and not isinstance(error, RunFailures))

    @contextmanager
    def _others(self) -> Iterator[None]:
        """Say what it means that the others cannot be reached."""
        try:
            yield
        except RuntimeError as error:  # torch's DistError is one
            raise RunFailures(
                f"rank {self.rank} of {self.size} lost the other processes; the whole run ends, what was finished is "
                f"kept, and running again continues ({' '.join(str(error).split())})"
            ) from error


def current() -> World:
    """Return the world this process was started in, joining it first where torchrun started several."""
    size = int(os.environ.get("WORLD_SIZE") or 1)
    if size == 1:
        return World()
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT)
    if dist.get_world_size() != size:
        raise RunFailures(f"{size} processes were asked for (WORLD_SIZE), {dist.get_world_size()} were found")
    return World(rank=dist.get_rank(), size=dist.get_world_size())


def leave() -> None:
    """Leave the world once nothing more is to be said to the others."""
    if _several():
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


def end(code: int) -> NoReturn:
    """End this process with a code. One of several ends at once, without the interpreter's own clearing up.

    After DistributedDataParallel, gloo's threads outlive even a destroyed process group, and one of them may abort
    the process while the interpreter is taken down: torchrun would call a finished run failed.
    """
    if _several():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _several() -> bool:
    return int(os.environ.get("WORLD_SIZE") or 1) > 1
