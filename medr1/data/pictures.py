"""Pictures made smaller, several at a time: read in this process, decoded and resized in others."""

from __future__ import annotations

import hashlib
import io
import logging
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from medr1.data.images import decode_image, load_image
from medr1.errors import ItemError, Medr1Error
from medr1.files import write_atomic
from medr1.records import Failure

_FORMATS: dict[str, dict[str, Any]] = {
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
    ".bmp": {"format": "BMP"},
    ".webp": {"format": "WEBP", "lossless": True},
}
"""A picture keeps its name, and so the format that its ending says; PNG for any other."""

MAX_WAITING = 256 * 1024**2
"""Bytes of files that wait in memory; the last may go beyond."""


@dataclass(frozen=True)
class Job:
    """A picture to be made."""

    index: int
    name: str
    """As its item has it."""
    content: bytes | Path | Failure
    """Of the file, or where it lies, or why it cannot be had."""
    target: Path
    size: int
    """Pixels of the longest side; 0 leaves it."""
    square: bool


def make_picture(job: Job) -> dict[str, Any]:
    """Write the picture; {"sha256"} of the file, or {"error": {"code", "message"}}."""
    if isinstance(job.content, Failure):
        return {"error": vars(job.content)}
    side = 0 if job.square else job.size
    try:
        if isinstance(job.content, Path):
            loaded = load_image(job.content, side=side)
        else:
            loaded = decode_image(job.content, os.path.basename(job.name), side=side)
    except ItemError as error:
        return {"error": {"code": error.code, "message": str(error)}}
    data = encoded(resized(loaded.image, job.size, job.square), job.target.suffix)
    write_atomic(job.target, data)
    made: dict[str, Any] = {"sha256": hashlib.sha256(data).hexdigest()}
    return {**made, "notes": list(loaded.notes)} if loaded.notes else made


def resized(image: Image.Image, size: int, square: bool) -> Image.Image:
    """The picture with `size` pixels on its longest side, or squeezed to a square; 0 leaves it."""
    if not size:
        return image
    width, height = image.size
    if square:
        shape = (size, size)
    elif width >= height:
        shape = (size, max(1, round(height * size / width)))
    else:
        shape = (max(1, round(width * size / height)), size)
    return image if shape == image.size else image.resize(shape, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, ending: str) -> bytes:
    """The picture as a file of that ending holds it, with nothing of the old file's metadata."""
    out = io.BytesIO()
    image.save(out, **_FORMATS.get(ending.lower(), {"format": "PNG"}))
    return out.getvalue()


def make_pictures(jobs: Iterable[Job], workers: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    """(job, what came of it), in order; not more than a few jobs are in memory at a time."""
    if workers == 1:
        yield from ((job, make_picture(job)) for job in jobs)
        return
    waiting: deque[tuple[Job, Future[dict[str, Any]]]] = deque()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_follow_parent) as pool:
        try:
            for job in jobs:
                waiting.append((job, pool.submit(make_picture, job)))
                while len(waiting) > 4 * workers or _bytes_of(waiting) > MAX_WAITING:
                    first, made = waiting.popleft()
                    yield first, made.result()
            while waiting:
                first, made = waiting.popleft()
                yield first, made.result()
        except BrokenProcessPool:
            raise Medr1Error(
                "a process that resized images was killed, perhaps for want of memory. Run the "
                "same command again with --workers 1; it goes on from here."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _bytes_of(waiting: Iterable[tuple[Job, Any]]) -> int:
    """The bytes of the files that wait in memory."""
    return sum(len(job.content) for job, _ in waiting if isinstance(job.content, bytes))


def _follow_parent() -> None:
    """End this process when the one that started it is gone, however it went."""
    logging.getLogger("medr1").setLevel(logging.WARNING)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
