"""Finds the further images of a TIFF: other pages, or smaller levels of the first image.

A pyramid has the same image in several sizes, as further pages or as directories below the first
page. Pages that are marked as reduced and are narrower than the first one are its levels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

MAX_PAGES = 32
"""Most pages that are looked at; a pyramid has about ten."""
_MAX_ENTRIES = 1_024
"""Most entries of a directory that is looked at."""
_SUBFILE_TYPE, _WIDTH, _SUBDIRECTORIES = 254, 256, 330
_LAYOUTS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""TIFF's code of a whole number's type -> its layout."""
_CANNOT_READ = (struct.error, OSError, ValueError, OverflowError)
"""A directory is cut off, or is said to be at a place that no file has."""


@dataclass(frozen=True)
class FurtherImages:
    """The images of a TIFF beside that of its first page."""

    num_images: int
    """Number of further pages, and of images below the first page."""
    are_levels: bool
    """Whether all of them are smaller levels of the first image."""
    pages_are_levels: bool
    """Whether all further pages are such levels."""


def further_images(file: IO[bytes]) -> FurtherImages:
    """The images of a TIFF beside that of its first page; one that cannot be read is no level.

    Args:
        file: The TIFF, open for reading.
    """
    file.seek(0)
    header = file.read(16)
    order, big = "<" if header[:2] == b"II" else ">", header[2:4] in (b"+\0", b"\0+")
    try:
        (offset,) = struct.unpack_from(f"{order}8xQ" if big else f"{order}4xI", header)
        first, offset = _directory(file, offset, order, big)
    except _CANNOT_READ:
        return FurtherImages(0, False, False)
    width = next(iter(first.get(_WIDTH, ())), 0)
    below = [_is_level(tags, width) for tags in _below(file, first, order, big) if _WIDTH in tags]
    pages: list[bool] = []
    while offset and len(pages) < MAX_PAGES:
        try:
            tags, offset = _directory(file, offset, order, big)
        except _CANNOT_READ:
            tags, offset = {}, 0
        pages.append(_is_level(tags, width))
    pages_are_levels = all(pages) and len(pages) < MAX_PAGES
    return FurtherImages(len(pages) + len(below), pages_are_levels and all(below), pages_are_levels)


def _is_level(tags: dict[int, tuple[int, ...]], width: int) -> bool:
    """Whether a directory has a smaller size of an image that is `width` pixels wide."""
    (subfile_type, own_width) = (next(iter(tags.get(t, ())), 0) for t in (_SUBFILE_TYPE, _WIDTH))
    return bool(subfile_type & 1) and 0 < own_width < width


def _below(
    file: IO[bytes], tags: dict[int, tuple[int, ...]], order: str, big: bool
) -> Iterator[dict[int, tuple[int, ...]]]:
    """The directories that the first one names in its tag SubIFDs, if they can be read."""
    for offset in tags.get(_SUBDIRECTORIES, ())[:MAX_PAGES]:
        with suppress(*_CANNOT_READ):
            yield _directory(file, offset, order, big)[0]


def _directory(
    file: IO[bytes], offset: int, order: str, big: bool
) -> tuple[dict[int, tuple[int, ...]], int]:
    """The numbers of the three tags in a directory, and the place of the next one; 0: none.

    One of _CANNOT_READ if it cannot be read.
    """
    place, size = ("Q", 20) if big else ("I", 12)
    file.seek(offset)
    (count,) = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))
    if count > _MAX_ENTRIES:
        raise struct.error("too many entries")
    entries = file.read(count * size)
    (following,) = struct.unpack(f"{order}{place}", file.read(8 if big else 4))
    tags: dict[int, tuple[int, ...]] = {}
    for start in range(0, count * size, size):
        tag, kind, values = struct.unpack_from(f"{order}HH{place}", entries, start)
        if tag not in (_SUBFILE_TYPE, _WIDTH, _SUBDIRECTORIES) or kind not in _LAYOUTS:
            continue
        layout = f"{order}{min(values, MAX_PAGES)}{_LAYOUTS[kind]}"
        content = entries[start + size - (8 if big else 4) : start + size]
        if values * struct.calcsize(order + _LAYOUTS[kind]) > len(content):
            file.seek(struct.unpack(f"{order}{place}", content)[0])
            content = file.read(struct.calcsize(layout))
        tags[tag] = struct.unpack_from(layout, content)
    return tags, following
