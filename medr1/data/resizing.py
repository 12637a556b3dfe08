"""Resize images in several processes.

Files in an archive are read in the process that starts the others.
"""

from __future__ import annotations

import hashlib
import io
import logging
import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from medr1.data.images import decode_image, load_image
from medr1.data.scans.location import ImageLocation
from medr1.errors import ItemError, Medr1Error
from medr1.files import write_atomic
from medr1.processes import map_in_order, process_pool
from medr1.records import Failure

_FORMATS: dict[str, dict[str, Any]] = {
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
    ".bmp": {"format": "BMP"},
    ".webp": {"format": "WEBP", "lossless": True},
}
"""File extension -> Pillow's options to save an image; PNG for any other extension."""

MAX_WAITING = 256 * 1024**2
"""Bytes of files that may wait in memory; the last file may exceed them."""


@dataclass(frozen=True)
class ResizeJob:
    """An image to be resized and written to a new file."""

    index: int
    """The position of the image among all images of the run."""
    name: str
    """The image's path as its item has it."""
    content: bytes | ImageLocation | Failure
    """The bytes of the image file, or where it is, or why it cannot be read."""
    target: Path
    """The file to write; its extension decides the format."""
    size: int
    """Pixels of the longer side; 0 keeps the image's size."""
    square: bool
    """Whether both sides get `size` pixels, so that the proportions change."""


def resize_image(job: ResizeJob) -> dict[str, Any]:
    """Decode, resize and write one image.

    Returns {"sha256"} of the new file, with {"notes"} of the loader if there are any; or
    {"error": {"code", "message"}}.
    """
    if isinstance(job.content, Failure):
        return {"error": vars(job.content)}
    side = 0 if job.square else job.size
    try:
        if isinstance(job.content, ImageLocation):
            loaded = load_image(job.content, side=side)
        else:
            loaded = decode_image(job.content, os.path.basename(job.name), side=side)
    except ItemError as error:
        return {"error": {"code": error.code, "message": str(error)}}
    data = _encode(_resize(loaded.image, job.size, job.square), job.target.suffix)
    write_atomic(job.target, data)
    outcome: dict[str, Any] = {"sha256": hashlib.sha256(data).hexdigest()}
    return {**outcome, "notes": list(loaded.notes)} if loaded.notes else outcome


def _resize(image: Image.Image, size: int, square: bool) -> Image.Image:
    """The image with `size` pixels on its longer side, or on both sides; 0 keeps its size."""
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


def _encode(image: Image.Image, extension: str) -> bytes:
    """The content of an image file with that extension, without metadata."""
    file = io.BytesIO()
    image.save(file, **_FORMATS.get(extension.lower(), {"format": "PNG"}))
    return file.getvalue()


def resize_images(
    jobs: Iterable[ResizeJob], workers: int
) -> Iterator[tuple[ResizeJob, dict[str, Any]]]:
    """Resize images in several processes.

    Args:
        jobs: The images. Only a few jobs are taken before they are needed, to save memory.
        workers: Number of processes; with 1, all is done in this process.

    Returns:
        (job, the result of `resize_image`) in the order of the jobs.

    Raises:
        Medr1Error: One of the processes was killed.
    """
    if workers == 1:
        yield from ((job, resize_image(job)) for job in jobs)
        return
    with process_pool(workers, _follow_parent) as pool:
        try:
            yield from map_in_order(pool, resize_image, jobs, ahead=4 * workers, is_full=_are_large)
        except BrokenProcessPool:
            raise Medr1Error(
                "a process that resized images was killed, perhaps because memory ran out. Run the "
                "same command again with --workers 1; it continues from here."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _are_large(waiting: Iterable[ResizeJob]) -> bool:
    """Whether the files that wait in memory have more than MAX_WAITING bytes."""
    return sum(len(job.content) for job in waiting if isinstance(job.content, bytes)) > MAX_WAITING


def _follow_parent() -> None:
    """End this process when the process that started it ends, even if that one was killed."""
    logging.getLogger("medr1").setLevel(logging.WARNING)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
