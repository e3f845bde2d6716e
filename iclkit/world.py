"""The processes of one distributed run: who am I, how many are we, and how values pass between us.

Under torchrun there are several; otherwise one. Rank 0 alone locks, reads and writes the run folder.
"""

import os
from typing import Any

from attrs import frozen


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
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value, in order of rank, on rank 0; an empty list elsewhere."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        box: list[Any] | None = [None] * self.size if self.leads else None
        dist.gather_object(value, box, dst=0)
        return box or []

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier()


def current() -> World:
    """Return the world this process was started in, joining it first where torchrun started several."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return World(rank=dist.get_rank(), size=dist.get_world_size())
