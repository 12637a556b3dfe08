"""Several processes on one batch, as torchrun starts them: who this one is, and how they wait.

Each answers its share of the plan into a journal of its own. Nothing but "I am here" is sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

_PATIENCE = timedelta(days=30)
"""One process may have much more to do than another; torchrun ends all where one is gone."""


@dataclass(frozen=True)
class Team:
    """The processes of one run; `rank` 0 writes the output."""

    rank: int = 0
    size: int = 1

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.barrier()


@contextmanager
def team() -> Iterator[Team]:
    """The processes that torchrun started with this one, connected; one alone without torchrun."""
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    import torch.distributed

    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Team(rank, size)
    finally:
        torch.distributed.destroy_process_group()
