"""Judge a result file of any length, chunk by chunk, on all cores and in bounded memory."""

from __future__ import annotations

import gc
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice

from msgspec import UNSET, to_builtins
from msgspec.structs import replace

from medr1.evaluate.item_claims import checked_texts
from medr1.evaluate.judging import Columns, Judged, Settings, columns_of, judge_prediction
from medr1.evaluate.metrics.summary import item_row
from medr1.evaluate.reading.results import Chunk, UniqueIds
from medr1.processes import map_in_order, num_cores, process_pool

CHUNKS_PER_WORKER = 2
"""Chunks that wait for each process, at most; they bound the memory."""
PROGRESS_SECONDS = 5.0
"""Seconds between two lines of progress in the log."""

logger = logging.getLogger("medr1")

Lines = list[str]
"""Lines of items.jsonl, each with its line feed."""


def judge_chunks(
    chunks: Iterable[Chunk],
    settings: Settings,
    *,
    name: str | None = None,
    write: Callable[[str], object] | None = None,
    workers: int | None = None,
) -> Judged:
    """Judge the chunks of a result file and return all items in the file's order.

    Args:
        chunks: The chunks in order; they are read only as fast as they are judged.
        settings: How to judge them.
        name: The file's name, for the key `results` of the written lines and for progress.
        write: Called with a line of items.jsonl for each item, in order; by default none is
            written.
        workers: Number of processes; by default one for each core. A file of one chunk, or
            `workers` = 1, is judged in this process.

    Raises:
        InputError: An item cannot be read or judged. Lines written before it are left to the
            caller to discard.
    """
    judge = partial(_judge_chunk, settings=settings, name=name, with_lines=write is not None)
    unique_ids = UniqueIds()
    parts: list[Columns] = []
    count, last_report = 0, time.monotonic()
    for columns, lines in _judged_in_order(judge, chunks, workers or num_cores()):
        # Whether an id repeats is known only here, where all chunks arrive in order.
        ids = list(map(unique_ids, columns.ids))
        if write is not None:
            for line, own_id, unique_id in zip(lines, columns.ids, ids, strict=True):
                write(line if unique_id == own_id else _with_id(line, unique_id))
        columns.ids[:] = ids
        parts.append(columns)
        count += len(ids)
        if time.monotonic() - last_report > PROGRESS_SECONDS:
            last_report = time.monotonic()
            logger.info("%s: %s items judged", name or "results", f"{count:,}")
    return Judged(Columns.concatenate(parts), settings)


def _judge_chunk(
    chunk: Chunk, settings: Settings, name: str | None, with_lines: bool
) -> tuple[Columns, Lines]:
    """The columns of one chunk and its lines of items.jsonl; it runs in a worker process."""
    predictions = list(chunk.predictions())
    verdicts = [judge_prediction(prediction, settings.protocol) for prediction in predictions]
    checked = checked_texts(predictions, verdicts) if settings.claims else None
    columns = columns_of(predictions, verdicts, settings, checked)
    lines: Lines = []
    if with_lines:
        rows = [
            item_row(prediction, verdict, name, checked[place] if checked else UNSET)
            for place, (prediction, verdict) in enumerate(zip(predictions, verdicts, strict=True))
        ]
        if (checks := columns.reasoning) is not None:
            rows = [replace(row, reasoning=checks.row(i)) for i, row in enumerate(rows)]
        lines = [json.dumps(to_builtins(row), ensure_ascii=False) + "\n" for row in rows]
    return columns, lines


def _with_id(line: str, item_id: str) -> str:
    """A line of items.jsonl with another id."""
    return json.dumps({**json.loads(line), "id": item_id}, ensure_ascii=False) + "\n"


def _judged_in_order(
    judge: Callable[[Chunk], tuple[Columns, Lines]], chunks: Iterable[Chunk], workers: int
) -> Iterator[tuple[Columns, Lines]]:
    """judge(chunk) for each chunk, in order, computed by `workers` processes."""
    remaining = iter(chunks)
    first_two = list(islice(remaining, 2))
    if workers < 2 or len(first_two) < 2:
        yield from map(judge, chain(first_two, remaining))
        return
    # Judging leaves no cycles of objects, and looking for them takes a fifth of the time.
    with process_pool(workers, gc.disable) as pool:
        ahead = CHUNKS_PER_WORKER * workers
        for _, judged in map_in_order(pool, judge, chain(first_two, remaining), ahead=ahead):
            yield judged
