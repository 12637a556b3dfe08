"""Processes: the ranks that a launcher gives them, and a map in worker processes or threads."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from medr1.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future, ProcessPoolExecutor

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

_MOST_WORKERS = 61
"""The most worker processes that Python can wait for on Windows."""


def is_launched() -> bool:
    """Whether torchrun or another launcher started this process: it sets LOCAL_RANK."""
    return "LOCAL_RANK" in os.environ


def rank() -> int:
    """The number of this process among those of a launcher, from 0; 0 without a launcher."""
    return int(os.environ.get("RANK", "0"))


def is_first_process() -> bool:
    """Whether this process writes and logs: it is the only one, or has rank 0 of a launcher."""
    return rank() == 0


def require_forks(task: str) -> None:
    """Check that this is not Windows, where processes cannot be forked and signals are missing.

    Args:
        task: What needs them, as the start of the sentence, such as "medr1 train".

    Raises:
        InputError: This is Windows.
    """
    if not hasattr(os, "fork"):
        raise InputError(
            f"{task} does not run on Windows itself. Run the same command in WSL, the Windows "
            "Subsystem for Linux."
        )


def num_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_pool(
    workers: int, initializer: Callable[[], object] | None = None
) -> ProcessPoolExecutor:
    """A pool of new Python processes; a fork of threads that hold locks may hang.

    Args:
        workers: Number of processes; on Windows at most 61 are started.
        initializer: Called in each process when it starts, if there is one.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    if sys.platform == "win32":
        workers = min(workers, _MOST_WORKERS)
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=spawn, initializer=initializer)


def map_in_order(
    pool: Executor,
    function: Callable[[Item], Outcome],
    items: Iterable[Item],
    *,
    ahead: int,
    is_full: Callable[[Iterable[Item]], bool] = lambda waiting: False,
) -> Iterator[tuple[Item, Outcome]]:
    """Each item with function(item), in order, computed by a pool.

    Unlike the pool's own `map`, it takes only a few items before their results are needed, so that
    memory does not grow with the number of items. Items that wait are cancelled after an error, or
    when the caller stops early.

    Args:
        pool: Processes or threads.
        function: Called with each item.
        items: Any number of items.
        ahead: Most items that wait, or are computed, at a time.
        is_full: Whether the waiting items are too many for another reason, such as their size.
    """
    waiting: deque[tuple[Item, Future[Outcome]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            while len(waiting) > ahead or is_full(item for item, _ in waiting):
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
