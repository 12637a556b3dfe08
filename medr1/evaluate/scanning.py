"""A result file of any length to columns: a chunk at a time, on every core, in bounded memory."""

from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import chain, islice
from typing import Any

from medr1.evaluate.judging import Columns, Judged, Settings, columns_of, verdict
from medr1.evaluate.metrics import item_row
from medr1.evaluate.results import Chunk, UniqueIds

AHEAD = 2
"""Chunks that wait for each process."""
EVERY = 5.0
"""Seconds between two lines of progress."""

logger = logging.getLogger("medr1")

Lines = list[str]


def scan(
    chunks: Iterable[Chunk],
    settings: Settings,
    *,
    name: str | None = None,
    write: Callable[[str], Any] | None = None,
    workers: int | None = None,
) -> Judged:
    """All chunks judged, in order. A file of one chunk, or `workers` = 1, needs no other process.

    `write` gets a line of items.jsonl for each item, with `name` as its results. The first
    InputError of a chunk is raised; what was written until then is the caller's to drop.
    """
    judge = partial(_judge_chunk, settings=settings, name=name, with_lines=write is not None)
    unique = UniqueIds()
    parts: list[Columns] = []
    count, said = 0, time.monotonic()
    for columns, lines in _mapped(judge, chunks, workers or _cores()):
        ids = list(map(unique, columns.ids))
        if write is not None:
            for line, before, now in zip(lines, columns.ids, ids, strict=True):
                write(line if now == before else _renamed(line, now))
        columns.ids[:] = ids
        parts.append(columns)
        count += len(ids)
        if time.monotonic() - said > EVERY:
            said = time.monotonic()
            logger.info("%s: %s items judged", name or "results", f"{count:,}")
    return Judged(Columns.joined(parts), settings)


def _judge_chunk(
    chunk: Chunk, settings: Settings, name: str | None, with_lines: bool
) -> tuple[Columns, Lines]:
    predictions = list(chunk.predictions())
    verdicts = [verdict(prediction, settings.protocol) for prediction in predictions]
    lines: Lines = []
    if with_lines:
        about = {} if name is None else {"results": name}
        rows = ({**about, **item_row(*pair)} for pair in zip(predictions, verdicts, strict=True))
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    return columns_of(predictions, verdicts, settings), lines


def _renamed(line: str, name: str) -> str:
    return json.dumps({**json.loads(line), "id": name}, ensure_ascii=False) + "\n"


def _mapped(
    judge: Callable[[Chunk], tuple[Columns, Lines]], chunks: Iterable[Chunk], workers: int
) -> Iterator[tuple[Columns, Lines]]:
    """judge(chunk) for each, in order; the file is read no further than is needed for that."""
    left = iter(chunks)
    first = list(islice(left, 2))
    if workers < 2 or len(first) < 2:
        yield from map(judge, chain(first, left))
        return
    started = multiprocessing.get_context("spawn")
    # what a chunk leaves has no cycles, and looking for them takes a fifth of the time
    with ProcessPoolExecutor(workers, mp_context=started, initializer=gc.disable) as pool:
        waiting: deque[Future[tuple[Columns, Lines]]] = deque()
        try:
            for chunk in chain(first, left):
                waiting.append(pool.submit(judge, chunk))
                if len(waiting) > AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
