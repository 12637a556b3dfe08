"""Several processes that answer one batch file together, as torchrun starts them.

Each process answers its share of the batches into a journal of its own. The processes exchange no
data; they only wait for each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from medr1.processes import rank

_PATIENCE = timedelta(days=30)
"""How long a process waits for the others: one may have much more to do. A process that died is
noticed by torchrun, which then ends all of them."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one run, as seen by one of them; the one with rank 0 writes the output."""

    rank: int = 0
    """The number of this process, from 0."""
    size: int = 1
    """The number of processes."""

    def wait(self) -> None:
        """Return when every process has called this (a barrier)."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.barrier()


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """Connect to the processes that torchrun started; a group of one without torchrun."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroup()
        return
    import torch.distributed

    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield ProcessGroup(rank(), size)
    finally:
        torch.distributed.destroy_process_group()
